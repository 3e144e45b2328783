// SPDX-License-Identifier: Apache-2.0

/// Where the workloads on record are, for who looks at all of them at each change.
///
/// What a record says is not made out again while its text is the same: on a node with many pods,
/// that would be most of what a change costs.
struct Neighbors: Sendable {
    struct Neighbor: Sendable {
        let place: WorkloadPlace
        let identity: WorkloadIdentity

        init(_ record: WorkloadRecord) {
            place = record.place
            identity = record.identity
        }
    }

    private var known: [Workload.ID: (text: String, neighbor: Neighbor)] = [:]

    /// What is on record of a workload, or about to be; `nil` where that cannot be read.
    mutating func neighbor(_ id: Workload.ID, in store: StateStore) -> Neighbor? {
        if let intent = try? store.pending(id) { return Neighbor(intent.record) }
        guard let text = try? store.recordText(of: id) else { return nil }
        if let (last, neighbor) = known[id], last == text { return neighbor }
        guard let record = try? store.record(of: id, from: text) else { return nil }
        let neighbor = Neighbor(record)
        known[id] = (text, neighbor)
        return neighbor
    }

    /// Forgets those that are gone.
    mutating func keep(_ ids: some Sequence<Workload.ID>) {
        let ids = Set(ids)
        known = known.filter { ids.contains($0.key) }
    }
}
