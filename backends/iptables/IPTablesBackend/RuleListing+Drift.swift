// SPDX-License-Identifier: Apache-2.0

internal import RedirectionEngine
internal import RedirectionModel

extension RuleListing {
    /// How these rules, read from the kernel, differ from those that should be there.
    ///
    /// One finding a chain and kind names the first rule, and how many there are.
    func drift(from wanted: RuleListing, all name: String) -> [Drift] {
        if wanted.sections.isEmpty {
            return sections.isEmpty ? [] : [Drift(.changed, .rules, "\(name) should not be there")]
        }
        let known = Set(wanted.sections.map(\.place))
        let sections = sections(besides: known)
        guard !sections.isEmpty else { return [Drift(.missing, .rules, "\(name) is gone")] }
        return wanted.sections.flatMap { section -> [Drift] in
            guard let there = sections.first(where: { $0.place == section.place }) else {
                return [Drift(.missing, .rules, "\(section.place) is gone")]
            }
            return there.drift(from: section)
        }
            + sections.filter { !known.contains($0.place) }
            .map { Drift(.changed, .rules, "\($0.place) is not of the plan") }
    }
}

extension RuleListing {
    /// The sections without those that stay of an earlier plan for its connections, to which nothing
    /// new comes.
    private func sections(besides known: Set<String>) -> [Section] {
        guard sections.contains(where: \.isRetired) else { return sections }
        return sections.filter { section in
            known.contains(section.place) || !(section.isRetired || section.isBareNAT)
        }
    }
}

extension RuleListing.Section {
    fileprivate var isRetired: Bool {
        chain == Chain.Name.retired.rawValue || chain == Chain.Name.retired.legacy
    }

    /// A base chain of type nat that holds nothing.
    fileprivate var isBareNAT: Bool { lines.count == 1 && lines[0].hasPrefix("type nat ") }

    /// Where the section is, in words.
    fileprivate var place: String { "chain \(chain) of \(table)" }

    fileprivate func drift(from wanted: RuleListing.Section) -> [Drift] {
        guard lines != wanted.lines else { return [] }
        let gone = wanted.lines.indices(missingIn: lines)
        let added = lines.indices(missingIn: wanted.lines)
        var drift: [Drift] = []
        if let first = gone.first {
            drift.append(
                Drift(
                    .missing, .rules, wanted.words(on: first, among: gone.count, "is gone")))
        }
        if let first = added.first {
            drift.append(
                Drift(.changed, .rules, words(on: first, among: added.count, "is not of the plan")))
        }
        if drift.isEmpty, let first = lines.indices.first(where: { lines[$0] != wanted.lines[$0] })
        {
            drift.append(Drift(.changed, .rules, words(on: first, among: 1, "is out of order")))
        }
        return drift
    }

    /// `rule 3 of chain output of table inet swerve is gone (with 4 more): …`.
    private func words(on index: Int, among count: Int, _ what: String) -> String {
        let others = count > 1 ? " (with \(count - 1) more)" : ""
        // A base chain's first line says where it is hooked.
        let isHooked = lines.first?.hasPrefix("type ") ?? false
        let name = isHooked && index == 0 ? "the hook" : "rule \(index + (isHooked ? 0 : 1))"
        return "\(name) of \(place) \(what)\(others): \(lines[index])"
    }
}

extension [String] {
    /// The indices of those that `others` does not have, or not as often.
    fileprivate func indices(missingIn others: [String]) -> [Int] {
        var left = others.reduce(into: [:]) { $0[$1, default: 0] += 1 }
        return indices.filter { index in
            guard let count = left[self[index]], count > 0 else { return true }
            left[self[index]] = count - 1
            return false
        }
    }
}
