// SPDX-License-Identifier: Apache-2.0

/// Whether two runs say the same: their ratios, where both have one.
package struct BenchComparison: Sendable {
    package struct Pair: Sendable {
        package let what: String
        package let first: Ratio
        package let second: Ratio

        /// Whether the intervals, each wider by this fraction at either end, have a value in common.
        package func agrees(within slack: Double) -> Bool {
            guard let (one, other) = intervals else { return true }
            let (low, high) = (1 - slack, 1 + slack)
            return one.lowerBound * low <= other.upperBound * high
                && other.lowerBound * low <= one.upperBound * high
        }

        /// `nil` where one was a single round, which says nothing of its spread.
        fileprivate var intervals: (ClosedRange<Double>, ClosedRange<Double>)? {
            guard let one = first.interval, let other = second.interval else { return nil }
            return (one, other)
        }
    }

    package let pairs: [Pair]
    /// What was measured in a single round of one of them, so that it cannot be compared.
    package let singles: [String]
    /// What one of the runs has a ratio of, and the other has not.
    package let unpaired: [String]

    package init(_ first: BenchReport, _ second: BenchReport) {
        let (ones, others) = (first.ratios, second.ratios)
        let all = ones.keys.sorted().compactMap { what -> Pair? in
            guard let one = ones[what], let other = others[what] else { return nil }
            return Pair(what: what, first: one, second: other)
        }
        pairs = all.filter { $0.intervals != nil }
        singles = all.filter { $0.intervals == nil }.map(\.what)
        unpaired = Set(ones.keys).symmetricDifference(others.keys).sorted()
    }

    package func disagreeing(within slack: Double) -> [Pair] {
        pairs.filter { !$0.agrees(within: slack) }
    }

    /// What does not agree as a table, and how much does.
    package func text(within slack: Double) -> String {
        let apart = disagreeing(within: slack)
        var table = ReportTable("", "", columns: ["ratio", "first run", "second run"])
        for pair in apart { table.add([pair.what, pair.first.text, pair.second.text]) }
        let distances = Sample(pairs.map { abs($0.second.median / $0.first.median - 1) })
        var parts = apart.isEmpty ? [] : [ReportText.table(table)]
        if !unpaired.isEmpty {
            parts.append("in one run alone: " + unpaired.joined(separator: "; "))
        }
        if !singles.isEmpty { parts.append("of a single round, not compared: \(singles.count)") }
        parts.append(
            "\(pairs.count - apart.count) of \(pairs.count) ratios agree within their intervals"
                + (slack > 0 ? ", each \((slack * 100).short) % wider at either end" : "")
                + "; their medians are \((distances.median * 100).short) % apart in the middle, "
                + "\((distances.quantile(0.9) * 100).short) % at the ninth tenth")
        return parts.joined(separator: "\n\n")
    }
}

extension Ratio {
    fileprivate var interval: ClosedRange<Double>? {
        guard let low, let high, low <= high else { return nil }
        return low...high
    }
}

extension BenchReport {
    /// All that are in it, by what they are ratios of.
    var ratios: [String: Ratio] {
        var all: [String: Ratio] = [:]
        for row in rows {
            for (baseline, comparison) in [("manual", row.toManual), ("direct", row.toDirect)] {
                let name = "\(row.name), \(row.subject) to \(baseline)"
                all["\(name), latency"] = comparison?.latency
                all["\(name), rate"] = comparison?.rate
                all["\(name), CPU"] = comparison?.cpu
            }
        }
        for table in tables { all.merge(table.ratios) { one, _ in one } }
        return all
    }
}
