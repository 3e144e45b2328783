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

    /// When somebody began to look at counters.
    struct Look { fileprivate let start: UInt64 }

    private struct Seen {
        let reading: NodeReadings.Counters
        let at: UInt64
    }

    private(set) var rows: [Row: UInt64] = [:]
    private var last: [Workload.ID: Seen] = [:]
    /// Those that were there before us: what they have counted so far is not ours to tell.
    private var older: Set<Workload.ID> = []
    /// How many readings have been taken in, and how many had been when somebody was forgotten.
    private var clock: UInt64 = 0
    private var forgotten: UInt64 = 0

    init(older: Set<Workload.ID> = []) { self.older = older }

    /// To be called before the counters are read: looks overlap, and come to their ends in any order.
    func look() -> Look { Look(start: clock) }

    /// Adds what has come since the last look at the workload; the first at one that was there before
    /// us adds nothing.
    ///
    /// False where another look has been taken in since this one began, which may have seen more.
    @discardableResult
    mutating func add(
        _ reading: NodeReadings.Counters, of record: WorkloadRecord, seenBy look: Look
    ) -> Bool {
        guard isNews(record.id, to: look) else { return false }
        let before =
            older.contains(record.id)
            ? reading.counts
            : last[record.id].flatMap {
                $0.reading.mechanism == reading.mechanism ? $0.reading.counts : nil
            }
        for (direction, reason, count) in reading.counts.rows {
            let known = before?[direction, reason] ?? 0
            let row = Row(
                mechanism: reading.mechanism, direction: direction,
                verdict: reason.verdict(under: record.plan), reason: reason)
            // Fewer than before: they have begun anew.
            rows[row, default: 0] += count >= known ? count - known : count
        }
        take(reading, of: record.id)
        return true
    }

    func knows(_ id: Workload.ID) -> Bool { last[id] != nil || older.contains(id) }

    /// Takes the workload's counts for known as they are; false as of `add`.
    mutating func begin(
        _ reading: NodeReadings.Counters, of id: Workload.ID, seenBy look: Look
    ) -> Bool {
        guard isNews(id, to: look) else { return false }
        take(reading, of: id)
        return true
    }

    private func isNews(_ id: Workload.ID, to look: Look) -> Bool {
        look.start >= last[id]?.at ?? forgotten
    }

    private mutating func take(_ reading: NodeReadings.Counters, of id: Workload.ID) {
        clock += 1
        last[id] = Seen(reading: reading, at: clock)
        older.remove(id)
    }

    /// Forgets what was seen of others than these, which are all that the look has found.
    mutating func keep(_ ids: Set<Workload.ID>, seenBy look: Look) {
        let gone = last.filter { !ids.contains($0.key) && $0.value.at <= look.start }.keys
        guard !gone.isEmpty else { return }
        for id in gone { last[id] = nil }
        clock += 1
        forgotten = clock
    }
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
