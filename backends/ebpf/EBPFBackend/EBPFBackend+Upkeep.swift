// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
package import RedirectionEngine

extension EBPFBackend {
    /// Removes the flows of connections that have been over for long enough.
    package func sweep() throws(RedirectionError) {
        let now = monotonicNanoseconds()
        try during("sweep finished flows") { () throws(KernelError) in
            try removeFlows { $1.expires != 0 && $1.expires < now }
        }
    }

    /// Removes what an earlier process has left behind for pods that have no entry.
    func clearLeftovers() throws(RedirectionError) {
        guard node.isAdopted else { return }
        try during("clear what an earlier process has left") { () throws(KernelError) in
            let pods = Set(try node.pods.keys(as: UInt64.self))
            for key in try node.counts.keys(as: UInt64.self) where !pods.contains(key) {
                try node.counts.delete(key)
            }
            for key in try node.listeners?.keys(as: swerve_listener_key.self) ?? []
            where !pods.contains(key.pod) {
                try node.listeners?.delete(key)
            }
            try removeFlows { !pods.contains($0.pod) }
            try clearHandshakes(allBut: pods)
            for key in node.pinnedPods where !pods.contains(key) {
                for pins in node.pins(of: key) {
                    try pins.removeLink()
                    // What says which qdiscs are ours stays until they are gone.
                    try pins.removeIfEmpty()
                }
            }
        }
    }

    /// Removes the handshakes of pods that are gone; those of others are handed over by the programs,
    /// whether there is an entry or none.
    ///
    /// Places are the programs' alone, which take those of pods without an entry as they need them.
    private func clearHandshakes(allBut pods: Set<UInt64>) throws(KernelError) {
        let found = Set(try node.handshakes.keys(as: swerve_handshake_key.self).map(\.pod))
        guard !found.isSubset(of: pods) else { return }
        let there = try PodKeys.reachable(below: node.cgroup)
        try removeHandshakes { !pods.contains($0) && there[$0] == nil }
    }

    /// Forgets every pod but these whose namespace, or cgroup, is gone.
    ///
    /// Called when all that are wanted have been applied. Returns the others that are there: they
    /// stay redirected, for whoever lost their records. It ends an older version's work, too, and
    /// with it what that one alone did.
    @discardableResult
    package func forget(allBut workloads: [Workload]) throws(RedirectionError) -> [String] {
        var known: Set<UInt64> = []
        for workload in workloads { known.insert(try key(of: workload)) }
        return try during("forget pods that nobody knows") { () throws(KernelError) in
            let keys = Set(try node.pods.keys(as: UInt64.self)).union(node.pinnedPods)
            let strangers = keys.subtracting(known)
            let there = strangers.isEmpty ? [:] : try PodKeys.reachable(below: node.cgroup)
            for key in strangers where there[key] == nil { try forget(key) }
            try node.settle(nil)
            return strangers.compactMap { there[$0] }.sorted()
        }
    }

    /// Removes what there is of a pod whose namespace nobody can enter any more.
    private func forget(_ key: UInt64) throws(KernelError) {
        try node.removeFromOlder(key)
        try removeEntry(key)
        try forgetListeners(key)
        try removeFlows { $0.pod == key }
        // A pin alone may not be what holds them.
        if let known = installations[key]?.attached {
            try known.detach()
        } else {
            try CgroupInstallation(of: key, somewhereIn: node)?.detach()
        }
        try removeHandshakes { $0 == key }
        for pins in node.pins(of: key) { try pins.remove() }
        let set = installations.removeValue(forKey: key)?.set ?? sets.inherit(key)
        guard let set else { return }
        sets.awaitReaders()
        sets.release(set)
    }

    /// Those of the pods that are not wanted.
    func removeHandshakes(of isUnwanted: (UInt64) -> Bool) throws(KernelError) {
        for key in try node.handshakes.keys(as: swerve_handshake_key.self)
        where isUnwanted(key.pod) {
            try node.handshakes.delete(key)
        }
    }

    func removeFlows(where isUnwanted: (swerve_flow_key) -> Bool) throws(KernelError) {
        for key in try node.flows.keys(as: swerve_flow_key.self) where isUnwanted(key) {
            try node.flows.delete(key)
        }
    }

    func removeFlows(
        where isUnwanted: (swerve_flow_key, swerve_flow_entry) -> Bool
    ) throws(KernelError) {
        for key in try node.flows.keys(as: swerve_flow_key.self) {
            let entry = try node.flows.lookup(key, as: swerve_flow_entry.self)
            if let entry, isUnwanted(key, entry) { try node.flows.delete(key) }
        }
    }

    /// How many entries the maps hold: what a test, or an operator, wants to see empty.
    package func occupancy() throws(RedirectionError) -> [String: Int] {
        try during("count map entries") { () throws(KernelError) in
            var counts: [String: Int] = [:]
            for map in fillingMaps { counts[map.name] = try map.count() }
            if let map = node.handovers { counts[map.name] = try map.count(.taken) }
            return counts
        }
    }

    /// How many entries the same maps have room for.
    package var capacities: [String: Int] {
        let maps = fillingMaps + [node.handovers].compactMap(\.self)
        return Dictionary(maps.map { ($0.name, $0.maxEntries) }) { $1 }
    }

    private var fillingMaps: [BPFMap] {
        [
            node.pods, node.portSets, node.networkSets, node.owners, node.handshakes,
            node.flows, node.counts,
        ] + [node.listeners].compactMap(\.self)
    }

    /// What went wrong so far, by the names of swerve_abi.h.
    package func failures() throws(RedirectionError) -> [String: UInt64] {
        let names = [
            "storage full", "handshakes full", "bind failed", "listeners full", "no listener",
            "flows full", "mptcp refused", "no source", "handovers full",
        ]
        return try during("read failure counters") { () throws(KernelError) in
            var counts: [String: UInt64] = [:]
            for (index, name) in names.enumerated() {
                counts[name] = try node.stats.sum(at: UInt32(index))
            }
            return counts
        }
    }

    /// How this backend finds out who a socket's owner is.
    package nonisolated var ownerMethod: OwnerMethod { node.ownerMethod }

    /// The programs in use as the verifier saw them: the node's, and one pod's own.
    package var programs: [ProgramReport] {
        node.reports + (installations.values.first?.inbound?.reports ?? [])
    }

    /// Those for the cgroups of workloads beside pods, once there has been one.
    package nonisolated var programsOfCgroups: [ProgramReport] { node.cgroupReports }
}
