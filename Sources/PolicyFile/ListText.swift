// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

/// How a list is read from the texts of its items, and written.
struct ListText<Value: Sendable>: Sendable {
    let read: @Sendable ([String], Dialect) -> (Value, [ValueProblem])
    let write: @Sendable (Value) -> [String]
    let union: @Sendable (Value, Value) -> Value

    /// A set of values of their own.
    static func set<Element: Comparable & Hashable & Sendable>(
        _ parse: @escaping @Sendable (String, Dialect) throws(ValueProblem) -> Element,
        _ render: @escaping @Sendable (Element) -> String = { "\($0)" }
    ) -> ListText where Value == Set<Element> {
        ListText(
            read: { texts, dialect in
                var values: Set<Element> = []
                let problems = texts.problems { (text) throws(ValueProblem) in
                    let isNew = values.insert(try parse(text, dialect)).inserted
                    guard isNew || dialect.allowsRepeats else {
                        throw ValueProblem("is in the list already")
                    }
                }
                return (values, problems)
            },
            write: { $0.sorted().map(render) },
            union: { $0.union($1) })
    }

    /// A set of numbers, by ranges.
    static func ranges<Bound>(
        _ parse: @escaping @Sendable (String) throws(ValueProblem) -> ClosedRange<Bound>
    ) -> ListText where Value == RangeSet<Bound> {
        ListText(
            read: { texts, dialect in
                var ranges: [(index: Int, range: ClosedRange<Bound>)] = []
                var index = 0
                var problems = texts.problems { (text) throws(ValueProblem) in
                    defer { index += 1 }
                    ranges.append((index, try parse(text)))
                }
                if !dialect.allowsRepeats { problems += overlaps(ranges) }
                return (RangeSet(ranges.map(\.range)), problems)
            },
            write: { $0.texts },
            union: { $0.union($1) })
    }
}

/// The items that say what another item of the list says too.
func overlaps<Bound>(
    _ ranges: [(index: Int, range: ClosedRange<Bound>)]
) -> [ValueProblem] {
    let sorted = ranges.sorted { ($0.range.lowerBound, $0.index) < ($1.range.lowerBound, $1.index) }
    guard var widest = sorted.first else { return [] }
    var problems: [ValueProblem] = []
    for next in sorted.dropFirst() {
        if next.range.lowerBound <= widest.range.upperBound {
            let (earlier, later) = widest.index < next.index ? (widest, next) : (next, widest)
            problems.append(
                ValueProblem(
                    "overlaps with \(text(of: earlier.range)) in the same list", at: later.index))
        }
        if next.range.upperBound > widest.range.upperBound { widest = next }
    }
    return problems
}

func text<Bound>(of range: ClosedRange<Bound>) -> String {
    range.lowerBound == range.upperBound
        ? "\(range.lowerBound)" : "\(range.lowerBound)-\(range.upperBound)"
}

extension RangeSet {
    /// Its ranges as the items of a list.
    var texts: [String] { ranges.map { text(of: $0) } }
}

extension [String] {
    /// Runs `body` on every item, and returns what it throws with the item's place.
    func problems(_ body: (String) throws(ValueProblem) -> Void) -> [ValueProblem] {
        enumerated().compactMap { index, text in
            do throws(ValueProblem) {
                try body(text)
                return nil
            } catch {
                var problem = error
                problem.index = index
                return problem
            }
        }
    }
}
