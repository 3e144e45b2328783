// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel

/// Everything the kernel holds of a plan's lists: equal contents are one set.
struct SetContent: Hashable {
    /// In the order of `swerve_port_list`.
    let ports: [PortSet]
    let networks: [CIDR: UInt32]
    let owners: Set<MapTable.Owner>
}

/// The sets of lists in the kernel, each shared by the pods whose plans have equal lists.
///
/// A set never changes: a new plan gets another one, and the pod's entry moves to it in a single
/// step. That is what makes replacing a plan atomic, however long its lists are.
struct SetTable {
    private let node: NodePrograms
    private var users: [UInt32: Int] = [:]
    private var shared: [SetContent: UInt32] = [:]
    private var sets: [UInt32: Written] = [:]
    private var nextID: UInt32 = 1
    /// The sets that pods of an earlier process use, until this one knows these pods.
    private var inherited: [UInt64: UInt32] = [:]

    /// What there is of a set in the kernel.
    private struct Written {
        let id: UInt32
        var content: SetContent?
        var ports: BPFMap?
        /// The sets of ports that are excluded for certain users.
        var portSets: [PortSet: UInt32] = [:]
        var owners: [swerve_owner_key] = []
    }

    /// Starts with what the maps hold, of an earlier process or none.
    init(_ node: NodePrograms) throws(KernelError) {
        self.node = node
        if node.isAdopted { try adopt() }
    }

    /// Returns a set with these lists, made if there is none; give it back with `release`.
    ///
    /// One that somebody has changed in the kernel is left to those who use it.
    mutating func acquire(_ lists: PolicyLists) throws(KernelError) -> UInt32 {
        let entries = OwnerTable(lists).entries
        let wanted = SetContent(
            ports: lists.portLists, networks: lists.networks,
            owners: Set(entries.map { MapTable.Owner($0) }))
        if let id = shared[wanted], let set = sets[id] {
            if try node.readable.content(ofSet: id, owners: set.owners) == wanted {
                users[id, default: 0] += 1
                return id
            }
            shared[wanted] = nil
        }
        var set = Written(id: newID(), content: wanted)
        do throws(KernelError) {
            try write(lists, wanted.networks, entries, &set)
        } catch {
            erase(set)
            throw error
        }
        shared[wanted] = set.id
        sets[set.id] = set
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
        guard let (id, set) = sets.first(where: { $0.value.ports != nil }), let map = set.ports
        else { return }
        // What is written is there already; a failure changes nothing.
        try? node.portSets.update(id, descriptor: map.rawDescriptor)
    }

    /// Gives up one use of the set; the last one removes it.
    mutating func release(_ id: UInt32) {
        guard let set = sets[id], let count = users[id] else { return }
        users[id] = count > 1 ? count - 1 : nil
        guard count == 1 else { return }
        if let content = set.content, shared[content] == id { shared[content] = nil }
        sets[id] = nil
        erase(set)
    }

    /// The set of a pod that an earlier process has entered; asked once, it is the caller's.
    mutating func inherit(_ pod: UInt64) -> UInt32? { inherited.removeValue(forKey: pod) }

    // MARK: Writing

    private mutating func write(
        _ lists: PolicyLists, _ networks: [CIDR: UInt32], _ owners: [OwnerTable.Entry],
        _ set: inout Written
    ) throws(KernelError) {
        set.ports = try writePorts(lists.portElements, set.id)
        try writeNetworks(networks, set.id)
        if !owners.isEmpty { ChangeLog.about(to: .entries, "write owners of set \(set.id)") }
        for owner in owners {
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
        ChangeLog.about(to: .entries, "write port set \(id)")
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
        ChangeLog.about(to: .entries, "write networks of set \(id)")
        try node.networkSets.update(id, descriptor: networks.rawDescriptor)
    }

    /// Removes what is there of the set; called when nobody reads it, or half of it was written.
    private func erase(_ set: Written) {
        ChangeLog.about(to: .entries, "erase set \(set.id)")
        // An entry that cannot be deleted is one that was never written.
        for key in set.owners { _ = try? node.owners.delete(key) }
        for id in set.portSets.values { _ = try? node.portSets.delete(id) }
        _ = try? node.networkSets.delete(set.id)
        _ = try? node.portSets.delete(set.id)
    }
}

// MARK: After another process

extension SetTable {
    /// Learns what there is from the maps: pods say which sets are in use, and what nobody uses,
    /// half written or left over, is removed.
    private mutating func adopt() throws(KernelError) {
        for key in try node.pods.keys(as: UInt64.self) {
            guard let pod = try node.pods.lookup(key, as: swerve_pod.self) else { continue }
            users[pod.set, default: 0] += 1
            inherited[key] = pod.set
        }
        for id in users.keys { sets[id] = Written(id: id) }
        var ports = Set(try node.portSets.keys(as: UInt32.self))
        let networks = Set(try node.networkSets.keys(as: UInt32.self))
        nextID = (ports.union(networks).union(users.keys).max() ?? 0) + 1
        try adoptOwners(&ports)
        for id in users.keys {
            ports.remove(id)
            try adoptContent(of: id)
        }
        let orphans = ports.union(networks.subtracting(users.keys))
        if !orphans.isEmpty { ChangeLog.about(to: .entries, "erase sets \(orphans.sorted())") }
        for id in orphans {
            try node.portSets.delete(id)
            try node.networkSets.delete(id)
        }
    }

    /// Takes the owners' entries, and the sets of ports they name out of `ports`.
    private mutating func adoptOwners(_ ports: inout Set<UInt32>) throws(KernelError) {
        for key in try node.owners.keys(as: swerve_owner_key.self) {
            guard let owner = try node.owners.lookup(key, as: swerve_owner.self) else { continue }
            guard sets[key.set] != nil else {
                try node.owners.delete(key)
                continue
            }
            sets[key.set]?.owners.append(key)
            guard owner.port_set != 0 else { continue }
            let list = try node.readable.excludedPorts(ofSet: owner.port_set)
            sets[key.set]?.portSets[list] = owner.port_set
            ports.remove(owner.port_set)
        }
    }

    private mutating func adoptContent(of id: UInt32) throws(KernelError) {
        guard var set = sets[id] else { return }
        let content = try node.readable.content(ofSet: id, owners: set.owners)
        set.content = content
        if let map = try node.portSets.lookup(id, as: UInt32.self) {
            set.ports = try BPFMap.open(id: map, name: "swerve_ports")
        }
        sets[id] = set
        shared[content] = id
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
