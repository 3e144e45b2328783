// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// How much a flow adds to the counter of the row that decides it; docs/semantics.md has the table.
package enum CountingPromise: Hashable, Sendable {
    /// Nothing, for nothing is installed that could count.
    case never
    /// One, however many packets it has.
    case once
    /// One for each first segment: what is dropped is sent again.
    case eachTry
    /// One or nothing, as the kernel shows the flow to the mechanism or does not.
    case atMostOnce
    /// Nothing is promised of the row.
    case unsaid

    /// What a single flow may add.
    package var range: ClosedRange<UInt64> {
        switch self {
        case .never: 0...0
        case .once: 1...1
        case .eachTry: 1...(.max)
        case .atMostOnce: 0...1
        case .unsaid: 0...(.max)
        }
    }
}

extension Mechanism {
    /// What the mechanism promises of the row of `table` that has come to `verdict`.
    package func counting(_ verdict: Verdict, in table: Direction) -> CountingPromise {
        switch (verdict.reason, verdict.action, table) {
        case (.disabled, _, _): .never
        // Rules that redirect connections never see datagrams.
        case (.protocol, _, _): .unsaid
        // Only a lookup of the listener sees what arrives from the workload itself.
        case (.loopback, _, .inbound): .unsaid
        case (.family, .drop, _): .eachTry
        // Where nothing is redirected the kernel tracks nothing, and consults no nat rules.
        case (.family, _, _): self == .ebpf ? .once : .atMostOnce
        default: .once
        }
    }
}

extension ReasonCounters {
    /// A row that counts what its mechanism's promise does not allow.
    package struct Miscount: Hashable, Sendable {
        package let table: Direction
        package let reason: Reason
        package let count: UInt64
        package let allowed: ClosedRange<UInt64>
    }

    /// The rows that do not count what `mechanism` promises after `flows` under `plan`.
    package func miscounts(
        after flows: [Flow], under plan: RedirectionPlan, by mechanism: Mechanism
    ) -> [Miscount] {
        let verdicts = flows.map { (plan.table(for: $0), plan.verdict(for: $0)) }
        return Direction.allCases.flatMap { table in
            Reason.allCases.compactMap { reason in
                guard mechanism.counting(Verdict(.pass, reason), in: table) != .unsaid else {
                    return nil
                }
                let ranges = verdicts.filter { $0.0 == table && $0.1.reason == reason }
                    .map { mechanism.counting($0.1, in: table).range }
                let lower = ranges.map(\.lowerBound).reduce(0, +)
                let isOpen = ranges.contains { $0.upperBound == .max }
                let allowed = lower...(isOpen ? .max : ranges.map(\.upperBound).reduce(0, +))
                let count = self[table, reason]
                return allowed.contains(count)
                    ? nil : Miscount(table: table, reason: reason, count: count, allowed: allowed)
            }
        }
    }
}

extension ReasonCounters.Miscount: CustomStringConvertible {
    package var description: String {
        let (least, most) = (allowed.lowerBound, allowed.upperBound)
        // What has no end has no count either.
        let words =
            least == most ? "\(least)" : most == .max ? "\(least) or more" : "\(least) to \(most)"
        return "\(table) \(reason) is counted \(count) times, not \(words)"
    }
}
