// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel

/// The maps that say what is installed, be they ours or another process's.
struct NodeMaps: Sendable {
    let pods: BPFMap
    let portSets: BPFMap
    let networkSets: BPFMap
    let owners: BPFMap
    let counts: BPFMap

    init(
        pods: BPFMap, portSets: BPFMap, networkSets: BPFMap, owners: BPFMap, counts: BPFMap
    ) {
        self.pods = pods
        self.portSets = portSets
        self.networkSets = networkSets
        self.owners = owners
        self.counts = counts
    }

    /// Finds the maps that decide for the pod `key` in the programs on its cgroup, if any do.
    static func find(_ key: UInt64, on cgroup: Cgroup) throws(KernelError) -> NodeMaps? {
        for maps in try BPFMap.maps(ofProgramsOn: cgroup, .connect4) {
            guard let found = NodeMaps(maps), try found.holds(key) else { continue }
            return found
        }
        return nil
    }

    /// Takes from a program's maps those it needs; `nil` when the program is none of ours.
    private init?(_ maps: [BPFMap]) {
        func map(_ name: String) -> BPFMap? {
            // The kernel keeps 15 bytes of a name.
            maps.first { $0.name == String(name.prefix(15)) }
        }
        guard let pods = map("swerve_pods"), let portSets = map("swerve_port_sets"),
            let networkSets = map("swerve_network_sets"), let owners = map("swerve_owners"),
            let counts = map("swerve_counts"),
            // Of another build, which means other things by its bytes.
            pods.valueSize == MemoryLayout<swerve_pod>.size
        else { return nil }
        self.init(
            pods: pods, portSets: portSets, networkSets: networkSets, owners: owners,
            counts: counts)
    }

    private func holds(_ key: UInt64) throws(KernelError) -> Bool {
        try pods.lookup(key, as: swerve_pod.self) != nil
    }

    // MARK: What they say

    /// What the maps hold about the pod; nothing for one they do not know.
    func entries(of key: UInt64) throws(KernelError) -> [MapEntry] {
        guard let pod = try pods.lookup(key, as: swerve_pod.self) else { return [] }
        return MapTable(
            pod: pod, ports: try ports(ofSet: pod.set), networks: try networks(ofSet: pod.set),
            owners: try owners(ofSet: pod.set)
        ).entries
    }

    /// How often each row of the verdict table has decided for the pod.
    func counters(of key: UInt64) throws(KernelError) -> ReasonCounters {
        var counters = ReasonCounters()
        guard let sums = try counts.sums(key) else { return counters }
        let directions: [(Direction, swerve_direction)] = [
            (.outbound, SWERVE_OUTBOUND), (.inbound, SWERVE_INBOUND),
        ]
        for (direction, index) in directions {
            let first = Int(index.rawValue * SWERVE_REASONS.rawValue)
            for reason in Reason.allCases {
                counters[direction, reason] = sums[first + Int(reason.rawValue)]
            }
        }
        return counters
    }

    private func ports(ofSet set: UInt32) throws(KernelError) -> [swerve_port_words] {
        guard let id = try portSets.lookup(set, as: UInt32.self) else { return [] }
        return try BPFMap.open(id: id, name: "swerve_ports").elements()
    }

    private func networks(ofSet set: UInt32) throws(KernelError) -> [CIDR: UInt32] {
        guard let id = try networkSets.lookup(set, as: UInt32.self) else { return [:] }
        let map = try BPFMap.open(id: id, name: "swerve_networks")
        var networks: [CIDR: UInt32] = [:]
        for key in try map.keys(as: swerve_network_key.self) {
            let address = IPAddress(key.addr)
            let length = Int(key.prefixlen) - (address.family == .ipv4 ? 96 : 0)
            guard let network = CIDR(address, prefixLength: length) else { continue }
            networks[network] = try map.lookup(key)
        }
        return networks
    }

    private func owners(ofSet set: UInt32) throws(KernelError) -> [MapTable.Owner] {
        try owners(at: self.owners.keys(as: swerve_owner_key.self).filter { $0.set == set })
    }

    private func owners(at keys: [swerve_owner_key]) throws(KernelError) -> [MapTable.Owner] {
        var owners: [MapTable.Owner] = []
        for key in keys { if let owner = try owner(key) { owners.append(owner) } }
        return owners
    }

    private func owner(_ key: swerve_owner_key) throws(KernelError) -> MapTable.Owner? {
        guard let value = try owners.lookup(key, as: swerve_owner.self) else { return nil }
        return MapTable.Owner(
            isGroup: key.kind == SWERVE_OWNER_GID.rawValue,
            prefix: IDPrefix(first: UInt32(bigEndian: key.id), length: Int(key.prefixlen) - 64),
            flags: value.flags,
            ports: value.port_set == 0 ? [] : try excludedPorts(ofSet: value.port_set))
    }

    /// The pod's own addresses, from its entry or its set.
    func ownAddresses(of pod: swerve_pod) throws(KernelError) -> Set<IPAddress> {
        let few = [pod.own.0, pod.own.1, pod.own.2, pod.own.3].prefix(Int(pod.own_count))
        let flag = UInt32(SWERVE_NETWORK_OWN.rawValue)
        let many = try networks(ofSet: pod.set).filter { $0.value & flag != 0 }.keys
        return Set(few.map { IPAddress($0) } + many.map(\.network))
    }

    /// The ports of a set that excludes them for certain users.
    func excludedPorts(ofSet set: UInt32) throws(KernelError) -> PortSet {
        PolicyLists.ports(in: try ports(ofSet: set), \.word.0)
    }

    /// What the kernel holds of a set; `owners` are the keys of its entries there.
    func content(
        ofSet set: UInt32, owners keys: [swerve_owner_key]
    ) throws(KernelError) -> SetContent {
        SetContent(
            ports: PolicyLists.portLists(in: try ports(ofSet: set)),
            networks: try networks(ofSet: set), owners: Set(try owners(at: keys)))
    }
}
