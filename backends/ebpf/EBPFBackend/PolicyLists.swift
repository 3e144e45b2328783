// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import RedirectionModel

/// Everything of a plan that is looked up by key: equal lists are shared between pods.
struct PolicyLists: Hashable {
    let sidecar: Sidecar
    let excludedUIDs: IDSet
    let excludedGIDs: IDSet
    let ownerPortExclusions: [OwnerPortExclusion]
    let outbound: Selection
    let inbound: Selection
    /// The resolvers whose queries are taken, when they are not all.
    let dnsServers: Set<IPAddress>
    /// Own addresses, when they are more than a pod's entry has room for.
    let ownAddresses: Set<IPAddress>

    init(_ plan: RedirectionPlan) {
        sidecar = plan.sidecar
        excludedUIDs = plan.excludedUIDs
        excludedGIDs = plan.excludedGIDs
        ownerPortExclusions = plan.ownerPortExclusions
        dnsServers = plan.dns?.servers ?? []
        outbound = plan.outbound
        inbound = plan.inbound
        let hasRoom = plan.ownAddresses.count <= Int(SWERVE_OWN_ADDRESSES)
        ownAddresses = hasRoom ? [] : plan.ownAddresses
    }
}

// MARK: Ports

extension PolicyLists {
    /// The port lists in the order of `swerve_port_list`.
    var portLists: [PortSet] {
        [
            outbound.excludedPorts, outbound.includedPorts ?? [], inbound.excludedPorts,
            inbound.includedPorts ?? [], sidecar.ownPorts, sidecar.tunnelPorts,
        ]
    }

    /// The port lists as bitmaps: element `port / 64`, a word a list.
    var portElements: [swerve_port_words] {
        Self.elements(of: Array(zip(portLists, Self.words)))
    }

    /// The words of an element, in the order of `swerve_port_list`.
    private static var words: [WritableKeyPath<swerve_port_words, UInt64>] {
        [\.word.0, \.word.1, \.word.2, \.word.3, \.word.4, \.word.5]
    }

    /// The port lists, read back from the bitmaps.
    static func portLists(in elements: [swerve_port_words]) -> [PortSet] {
        words.map { ports(in: elements, $0) }
    }

    /// The bitmaps of a set that excludes `ports`, and says nothing else.
    static func elements(excluding ports: PortSet) -> [swerve_port_words] {
        elements(of: [(ports, \.word.0)])
    }

    private static func elements(
        of lists: [(PortSet, WritableKeyPath<swerve_port_words, UInt64>)]
    ) -> [swerve_port_words] {
        var elements = [swerve_port_words](
            repeating: swerve_port_words(), count: Int(SWERVE_PORT_ELEMENTS))
        for (ports, word) in lists {
            for port in ports.ranges.joined() {
                elements[Int(port / 64)][keyPath: word] |= 1 << UInt64(port % 64)
            }
        }
        return elements
    }
}

// MARK: Networks

extension PolicyLists {
    /// The networks as the trie needs them: each with the flags of all that cover it.
    ///
    /// A longest-prefix trie finds one entry, so a longer prefix must repeat what the shorter
    /// ones around it say. IPv4 lies inside IPv6 as mapped addresses, and inherits nothing.
    var networks: [CIDR: UInt32] {
        let direct = directNetworks
        var closed: [CIDR: UInt32] = [:]
        for family in AddressFamily.allCases {
            var covering: [CIDR] = []
            for network in direct.keys.filter({ $0.family == family }).sorted() {
                while let last = covering.last, !last.contains(network) { covering.removeLast() }
                let inherited = covering.last.flatMap { closed[$0] } ?? 0
                closed[network] = inherited | (direct[network] ?? 0)
                covering.append(network)
            }
        }
        return closed
    }

    private var directNetworks: [CIDR: UInt32] {
        let lists: [(Set<CIDR>, swerve_network_flag)] = [
            (outbound.excludedNetworks, SWERVE_NETWORK_OUT_EXCLUDED),
            (outbound.includedNetworks ?? [], SWERVE_NETWORK_OUT_INCLUDED),
            (inbound.excludedNetworks, SWERVE_NETWORK_IN_EXCLUDED),
            (inbound.includedNetworks ?? [], SWERVE_NETWORK_IN_INCLUDED),
            (Set(ownAddresses.map { CIDR($0) }), SWERVE_NETWORK_OWN),
            (Set(dnsServers.map { CIDR($0) }), SWERVE_NETWORK_DNS_SERVER),
            (Set(sidecar.passthroughSources.map { CIDR($0) }), SWERVE_NETWORK_PASSTHROUGH),
        ]
        var flags: [CIDR: UInt32] = [:]
        for (networks, flag) in lists {
            for network in networks { flags[network, default: 0] |= UInt32(flag.rawValue) }
        }
        // Without an entry of its own, IPv4 would fall to a short IPv6 prefix.
        if flags.keys.contains(where: { $0.family == .ipv6 }) {
            flags[.all(.ipv4), default: 0] |= 0
        }
        return flags
    }
}
