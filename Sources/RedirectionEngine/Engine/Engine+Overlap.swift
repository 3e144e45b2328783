// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel

/// Workloads that would have each other's connections.
extension Engine {
    /// Refuses a workload whose sockets are another's as well: two plans would act on each of them.
    func refuseOverlap(
        _ workload: Workload, _ identity: WorkloadIdentity
    ) throws(EngineError) {
        // Of one that cannot be read nothing is known; it has been told of.
        let all = try state { () throws(StateError) in try neighbors.all(in: store) }
        for (id, other) in all where id != workload.id {
            guard let how = try overlap(workload, identity, other),
                // Whoever is gone has nothing any more.
                try reach(other) != nil
            else { continue }
            throw .overlapping(workload.id, with: id, because: how)
        }
    }

    /// What the workload shares with another one, if it is anything.
    private func overlap(
        _ workload: Workload, _ identity: WorkloadIdentity, _ other: Neighbors.Neighbor
    ) throws(EngineError) -> String? {
        let scopes = [workload.scope, other.place.scope]
        let isSameNamespace = identity.hasSameNamespace(as: other.identity)
        // Cgroups of pods matter where one of the two is a cgroup, and nothing else.
        guard scopes.contains(.cgroup) else {
            return isSameNamespace ? "it is the same network namespace" : nil
        }
        if isSameNamespace, scopes.contains(.namespace) {
            return workload.scope == .cgroup
                ? "its network namespace is redirected as a whole"
                : "a cgroup in its network namespace is redirected by itself"
        }
        guard let own = workload.cgroup, let path = other.place.cgroup else { return nil }
        let theirs = Cgroup(path: path)
        do throws(KernelError) {
            if try theirs.holds(own) { return "its cgroup is \(path), or below" }
            if try own.holds(theirs) { return "its cgroup holds \(path)" }
            return nil
        } catch  where error.saysGone {
            return nil
        } catch {
            throw .unreachable(workload.id, error)
        }
    }
}
