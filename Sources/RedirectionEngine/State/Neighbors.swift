// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel

/// Where the workloads on record are, for who looks at all of them at each change.
///
/// A record is not read again while its file is the same: on a node with many pods, that would be most
/// of what a change costs.
struct Neighbors: Sendable {
    struct Neighbor: Sendable {
        let place: WorkloadPlace
        let identity: WorkloadIdentity

        init(_ record: WorkloadRecord) {
            place = record.place
            identity = record.identity
        }
    }

    private var known: [Workload.ID: (version: Directory.FileVersion, neighbor: Neighbor)] = [:]

    /// What is on record of all workloads, or about to be, but for those that cannot be read.
    mutating func all(
        in store: StateStore
    ) throws(StateError) -> [(id: Workload.ID, neighbor: Neighbor)] {
        let pending = Set(try store.pendingIDs())
        let ids = pending.union(try store.recordedIDs())
        known = known.filter { ids.contains($0.key) }
        return ids.sorted().compactMap { id in
            neighbor(id, in: store, mayBePending: pending.contains(id)).map { (id, $0) }
        }
    }

    /// What is on record of a workload, or about to be; `nil` where that cannot be read.
    mutating func neighbor(
        _ id: Workload.ID, in store: StateStore, mayBePending: Bool = true
    ) -> Neighbor? {
        if mayBePending, let intent = try? store.pending(id) { return Neighbor(intent.record) }
        // Asked for before the record is read: whoever writes meanwhile has it read again.
        guard let version = try? store.version(of: id) else { return nil }
        if let last = known[id], last.version == version { return last.neighbor }
        guard let record = (try? store.record(of: id)) ?? nil else { return nil }
        let neighbor = Neighbor(record)
        known[id] = (version, neighbor)
        return neighbor
    }
}
