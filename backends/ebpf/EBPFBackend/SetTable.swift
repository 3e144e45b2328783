// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
internal import RedirectionModel

/// The sets of lists in the kernel, each shared by the pods whose plans have equal lists.
///
/// A set never changes: a new plan gets another one, and the pod's entry moves to it in a single
/// step. That is what makes replacing a plan atomic, however long its lists are.
struct SetTable {
    private let node: NodePrograms
    private var sets: [PolicyLists: (id: UInt32, users: Int)] = [:]
    private var lists: [UInt32: PolicyLists] = [:]
    private var ports: [UInt32: BPFMap] = [:]
    private var nextID: UInt32 = 1

    init(_ node: NodePrograms) { self.node = node }

    /// Returns a set with these lists, made if there is none; give it back with `release`.
    mutating func acquire(_ wanted: PolicyLists) throws(KernelError) -> UInt32 {
        if let set = sets[wanted] {
            sets[wanted] = (set.id, set.users + 1)
            return set.id
        }
        let id = nextID
        do throws(KernelError) {
            try write(wanted, id)
        } catch {
            erase(wanted, id)
            throw error
        }
        nextID += 1
        sets[wanted] = (id, 1)
        lists[id] = wanted
        return id
    }

    /// Waits until no program reads a pod's entry as it was before this call.
    ///
    /// A program that has just read the old entry will look its set up next, so the set must not
    /// go yet. The kernel waits for all running programs (synchronize_rcu) whenever a map of maps
    /// is written, so writing a set that is there once more is a wait and nothing else.
    func awaitReaders() {
        guard let (id, map) = ports.first else { return }
        // What is written is there already; a failure changes nothing.
        try? node.portSets.update(id, descriptor: map.rawDescriptor)
    }

    /// Gives up one use of the set; the last one removes it.
    mutating func release(_ id: UInt32) {
        guard let held = lists[id], let set = sets[held] else { return }
        if set.users > 1 {
            sets[held] = (id, set.users - 1)
            return
        }
        sets[held] = nil
        lists[id] = nil
        erase(held, id)
    }

    private mutating func write(_ lists: PolicyLists, _ id: UInt32) throws(KernelError) {
        let elements = lists.portElements
        let map = try BPFMap.createArray(
            name: "swerve_ports", valueSize: MemoryLayout<swerve_port_words>.size,
            entries: elements.count)
        try map.update(keys: (0..<UInt32(elements.count)).map(\.self), values: elements)
        try node.portSets.update(id, descriptor: map.rawDescriptor)
        ports[id] = map
        try writeNetworks(lists, id)
        for owner in lists.owners {
            try node.owners.update(Self.key(owner.kind, owner.id, in: id), owner.flags)
        }
    }

    private func writeNetworks(_ lists: PolicyLists, _ id: UInt32) throws(KernelError) {
        let entries = lists.networks
        guard !entries.isEmpty else { return }
        let networks = try BPFMap.createLPM(
            name: "swerve_networks", keySize: MemoryLayout<swerve_network_key>.size, valueSize: 4,
            maxEntries: 1 << 20)
        let pairs = Array(entries)
        try networks.update(
            keys: pairs.map { network, _ in
                swerve_network_key(
                    prefixlen: UInt32(network.mappedPrefixLength),
                    addr: swerve_addr(network.network))
            }, values: pairs.map(\.value))
        try node.networkSets.update(id, descriptor: networks.rawDescriptor)
    }

    /// Removes what is there of the set; called when nobody reads it, or half of it was written.
    private mutating func erase(_ lists: PolicyLists, _ id: UInt32) {
        // An entry that cannot be deleted is one that was never written.
        ports[id] = nil
        _ = try? node.portSets.delete(id)
        _ = try? node.networkSets.delete(id)
        for owner in lists.owners {
            _ = try? node.owners.delete(Self.key(owner.kind, owner.id, in: id))
        }
    }

    private static func key(
        _ kind: swerve_owner_kind, _ id: UInt32, in set: UInt32
    ) -> swerve_owner_key {
        swerve_owner_key(set: set, kind: UInt32(kind.rawValue), id: id)
    }
}
