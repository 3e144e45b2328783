// SPDX-License-Identifier: Apache-2.0

internal import RedirectionEngine
internal import RedirectionModel
internal import Synchronization

/// Which pods have been deleted while something was being found out about them: who is added late must
/// not come back.
final class Departures: Sendable {
    private struct Entry {
        var waiting = 0
        var deletions = 0
    }

    private let entries = Mutex<[Workload.ID: Entry]>([:])

    func note(_ id: Workload.ID) {
        entries.withLock { entries in entries[id]?.deletions += 1 }
    }

    /// What `body` comes to, and whether the pod has been deleted meanwhile.
    func during<Value>(
        _ id: Workload.ID, _ body: () async throws(AgentRefusal) -> Value
    ) async -> (outcome: Result<Value, AgentRefusal>, isGone: Bool) {
        let start = begin(id)
        let outcome: Result<Value, AgentRefusal>
        do throws(AgentRefusal) {
            outcome = .success(try await body())
        } catch { outcome = .failure(error) }
        return (outcome, end(id, since: start))
    }

    /// Begins to wait; what it returns is for `end`.
    private func begin(_ id: Workload.ID) -> Int {
        entries.withLock { entries in
            entries[id, default: Entry()].waiting += 1
            return entries[id]?.deletions ?? 0
        }
    }

    /// Whether the pod has been deleted since `start`.
    private func end(_ id: Workload.ID, since start: Int) -> Bool {
        entries.withLock { entries in
            guard var entry = entries[id] else { return false }
            entry.waiting -= 1
            entries[id] = entry.waiting > 0 ? entry : nil
            return entry.deletions != start
        }
    }
}
