// SPDX-License-Identifier: Apache-2.0

internal import RedirectionEngine
internal import RedirectionModel

/// The node's connections, summed up: a pod's counts begin anew with each of its plans and end with
/// it, and these never go back.
struct ConnectionTotals {
    struct Row: Hashable {
        let mechanism: Mechanism
        let direction: Direction
        let verdict: String
        let reason: Reason
    }

    private(set) var rows: [Row: UInt64] = [:]
    private var last: [Workload.ID: NodeReadings.Counters] = [:]

    /// Adds what has come since the last look at the workload.
    mutating func add(_ reading: NodeReadings.Counters, of record: WorkloadRecord) {
        let before = last[record.id].flatMap {
            $0.mechanism == reading.mechanism ? $0.counts : nil
        }
        for (direction, reason, count) in reading.counts.rows {
            let known = before?[direction, reason] ?? 0
            let row = Row(
                mechanism: reading.mechanism, direction: direction,
                verdict: reason.verdict(under: record.plan), reason: reason)
            // Fewer than before: they have begun anew.
            rows[row, default: 0] += count >= known ? count - known : count
        }
        last[record.id] = reading
    }

    func knows(_ id: Workload.ID) -> Bool { last[id] != nil }

    /// Takes the workload's counts for known as they are.
    mutating func begin(_ reading: NodeReadings.Counters, of id: Workload.ID) {
        last[id] = reading
    }

    /// Forgets what was seen of others than these.
    mutating func keep(_ ids: Set<Workload.ID>) { last = last.filter { ids.contains($0.key) } }
}

extension Reason {
    /// What the row of the table does with what it decides.
    fileprivate func verdict(under plan: RedirectionPlan) -> String {
        switch self {
        case .outbound: return "redirect-outbound"
        case .inbound, .selfCall: return "redirect-inbound"
        case .dns: return "redirect-dns"
        case .family:
            let policies = Set(plan.families.values)
            let drops = policies.contains(.drop)
            return drops && policies.contains(.pass) ? "pass-or-drop" : drops ? "drop" : "pass"
        default: return "pass"
        }
    }
}
