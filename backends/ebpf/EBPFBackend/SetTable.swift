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
    private var users: [UInt32: Int] = [:]
    private var sets: [PolicyLists: Written] = [:]
    private var lists: [UInt32: PolicyLists] = [:]
    private var nextID: UInt32 = 1

    /// What there is of a set in the kernel.
    private struct Written {
        let id: UInt32
        var ports: BPFMap?
        /// The sets of ports that are excluded for certain users.
        var portSets: [PortSet: UInt32] = [:]
        var owners: [swerve_owner_key] = []
    }

    init(_ node: NodePrograms) { self.node = node }

    /// Returns a set with these lists, made if there is none; give it back with `release`.
    mutating func acquire(_ wanted: PolicyLists) throws(KernelError) -> UInt32 {
        if let set = sets[wanted] {
            users[set.id, default: 0] += 1
            return set.id
        }
        var set = Written(id: newID())
        do throws(KernelError) {
            try write(wanted, &set)
        } catch {
            erase(set)
            throw error
        }
        sets[wanted] = set
        lists[set.id] = wanted
        users[set.id] = 1
        return set.id
    }

    private mutating func newID() -> UInt32 {
        defer { nextID += 1 }
        return nextID
    }

    /// Waits until no program reads a pod's entry as it was before this call.
    ///
    /// A program that has just read the old entry will look its set up next, so the set must not
    /// go yet. The kernel waits for all running programs (synchronize_rcu) whenever a map of maps
    /// is written, so writing a set that is there once more is a wait and nothing else.
    func awaitReaders() {
        guard let set = sets.values.first, let map = set.ports else { return }
        // What is written is there already; a failure changes nothing.
        try? node.portSets.update(set.id, descriptor: map.rawDescriptor)
    }

    /// Gives up one use of the set; the last one removes it.
    mutating func release(_ id: UInt32) {
        guard let held = lists[id], let set = sets[held], let count = users[id] else { return }
        users[id] = count > 1 ? count - 1 : nil
        guard count == 1 else { return }
        sets[held] = nil
        lists[id] = nil
        erase(set)
    }

    private mutating func write(
        _ lists: PolicyLists, _ set: inout Written
    ) throws(KernelError) {
        set.ports = try writePorts(lists.portElements, set.id)
        try writeNetworks(lists.networks, set.id)
        for owner in OwnerTable(lists).entries {
            let ports = try portSet(owner.facts.excludedPorts, &set)
            let key = owner.key(in: set.id)
            try node.owners.update(key, owner.facts.entry(portSet: ports))
            set.owners.append(key)
        }
    }

    /// The set of these ports alone; 0, which is none, for no ports.
    private mutating func portSet(
        _ ports: PortSet, _ set: inout Written
    ) throws(KernelError) -> UInt32 {
        guard !ports.isEmpty else { return 0 }
        if let id = set.portSets[ports] { return id }
        let id = newID()
        set.portSets[ports] = id
        try writePorts(PolicyLists.elements(excluding: ports), id)
        return id
    }

    @discardableResult
    private func writePorts(
        _ elements: [swerve_port_words], _ id: UInt32
    ) throws(KernelError) -> BPFMap {
        let map = try BPFMap.createArray(
            name: "swerve_ports", valueSize: MemoryLayout<swerve_port_words>.size,
            entries: elements.count)
        try map.update(keys: (0..<UInt32(elements.count)).map(\.self), values: elements)
        try node.portSets.update(id, descriptor: map.rawDescriptor)
        return map
    }

    private func writeNetworks(_ entries: [CIDR: UInt32], _ id: UInt32) throws(KernelError) {
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
    private func erase(_ set: Written) {
        // An entry that cannot be deleted is one that was never written.
        for key in set.owners { _ = try? node.owners.delete(key) }
        for id in set.portSets.values { _ = try? node.portSets.delete(id) }
        _ = try? node.networkSets.delete(set.id)
        _ = try? node.portSets.delete(set.id)
    }
}

extension OwnerTable.Entry {
    func key(in set: UInt32) -> swerve_owner_key {
        let kind = isGroup ? SWERVE_OWNER_GID : SWERVE_OWNER_UID
        return swerve_owner_key(
            prefixlen: UInt32(64 + prefix.length), set: set, kind: UInt32(kind.rawValue),
            id: prefix.first.bigEndian)
    }
}

extension OwnerTable.Facts {
    var flags: UInt32 {
        let conditions: [(Bool, swerve_owner_flag)] = [
            (isSidecar, SWERVE_OWNER_SIDECAR), (isExcluded, SWERVE_OWNER_EXCLUDED),
            (isExcludedFromDNS, SWERVE_OWNER_NO_DNS_UDP),
        ]
        return conditions.filter(\.0).reduce(0) { $0 | UInt32($1.1.rawValue) }
    }

    func entry(portSet: UInt32) -> swerve_owner { swerve_owner(flags: flags, port_set: portSet) }
}
