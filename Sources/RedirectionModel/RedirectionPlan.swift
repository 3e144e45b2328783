// SPDX-License-Identifier: Apache-2.0

/// What to do with a family's traffic.
package enum FamilyPolicy: String, Hashable, Sendable, Codable, CaseIterable {
    case managed
    case pass
    case drop
}

/// The proxy that receives the traffic: who it runs as and where it listens.
package struct Sidecar: Hashable, Sendable, Codable {
    package var uids: IDSet
    package var gids: IDSet
    package var outboundPort: UInt16
    package var inboundPort: UInt16
    /// Ports the sidecar itself serves: inbound flows to them are left alone.
    package var ownPorts: PortSet
    /// Whether its calls to the workload's own addresses go through the inbound port.
    package var redirectsSelfCalls: Bool
    /// Ports on which its calls to itself are already what they should be, such as a tunnel's.
    package var tunnelPorts: PortSet
    /// Sources it uses for nothing but handing on to the application what it has let through.
    package var passthroughSources: Set<IPAddress>

    package init(
        uids: IDSet, gids: IDSet = [], outboundPort: UInt16, inboundPort: UInt16,
        ownPorts: PortSet, redirectsSelfCalls: Bool = true, tunnelPorts: PortSet = [],
        passthroughSources: Set<IPAddress> = []
    ) {
        self.uids = uids
        self.gids = gids
        self.outboundPort = outboundPort
        self.inboundPort = inboundPort
        self.ownPorts = ownPorts
        self.redirectsSelfCalls = redirectsSelfCalls
        self.tunnelPorts = tunnelPorts
        self.passthroughSources = passthroughSources
    }

    package func owns(_ owner: Owner) -> Bool {
        uids.contains(owner.uid) || gids.contains(owner.gid)
    }
}

/// Which name lookups go to the sidecar instead.
package struct DNSCapture: Hashable, Sendable, Codable {
    /// The port of DNS itself (RFC 1035 §4.2).
    package static let domainPort: UInt16 = 53

    /// Where the sidecar answers, over UDP and TCP.
    package var port: UInt16
    /// The resolvers whose queries are taken; `nil` stands for all, those on loopback included.
    package var servers: Set<IPAddress>?
    package var protocols: Set<TransportProtocol>

    package init(
        port: UInt16, servers: Set<IPAddress>? = nil,
        protocols: Set<TransportProtocol> = [.udp, .tcp]
    ) {
        self.port = port
        self.servers = servers
        self.protocols = protocols
    }
}

/// How inbound connections are given to the sidecar.
package enum InboundMode: Hashable, Sendable, Codable {
    /// By destination NAT, or what looks like it.
    case redirect
    /// As they are, to a transparent listener (TPROXY). The sidecar's own connections with `mark`
    /// may borrow the client's address: answers to it stay in the workload, by routing table
    /// `table`.
    case transparent(mark: UInt32, table: UInt32)
}

/// Ports that are left alone when certain users connect to them.
package struct OwnerPortExclusion: Hashable, Sendable, Codable {
    package var uids: IDSet
    package var ports: PortSet
    package var protocols: Set<TransportProtocol>

    package init(uids: IDSet, ports: PortSet, protocols: Set<TransportProtocol> = [.tcp, .udp]) {
        self.uids = uids
        self.ports = ports
        self.protocols = protocols
    }
}

/// A bridge to machines inside the workload (KubeVirt, Docker in a pod): what arrives on it leaves
/// the workload, as far as the plan is concerned.
package struct VirtualInterface: Hashable, Sendable, Codable {
    package var interface: InterfacePattern
    /// Destinations behind the bridge itself, which are left alone.
    package var localNetworks: Set<CIDR>

    package init(_ interface: InterfacePattern, localNetworks: Set<CIDR> = []) {
        self.interface = interface
        self.localNetworks = localNetworks
    }
}

/// How include lists of ports and of CIDRs combine when both are given.
package enum Combination: String, Hashable, Sendable, Codable, CaseIterable {
    /// A flow must match every list that is given.
    case all
    /// A flow must match at least one of them.
    case any
}

/// Which flows of one direction are redirected.
///
/// `networks` are destinations outbound, sources inbound. An include list that is `nil` was not
/// given and lets everything through; an empty one lets nothing through.
package struct Selection: Hashable, Sendable, Codable {
    package var excludedPorts: PortSet
    package var excludedNetworks: Set<CIDR>
    package var excludedInterfaces: Set<InterfacePattern>
    package var includedPorts: PortSet?
    package var includedNetworks: Set<CIDR>?
    package var combination: Combination

    package init(
        excludedPorts: PortSet = [], excludedNetworks: Set<CIDR> = [],
        excludedInterfaces: Set<InterfacePattern> = [], includedPorts: PortSet? = nil,
        includedNetworks: Set<CIDR>? = nil, combination: Combination = .all
    ) {
        self.excludedPorts = excludedPorts
        self.excludedNetworks = excludedNetworks
        self.excludedInterfaces = excludedInterfaces
        self.includedPorts = includedPorts
        self.includedNetworks = includedNetworks
        self.combination = combination
    }

    /// True when the include lists, as far as they are given, accept the flow.
    func includes(port: UInt16, peer: IPAddress) -> Bool {
        let answers = [
            includedPorts.map { $0.contains(port) },
            includedNetworks.map { networks in networks.contains { $0.contains(peer) } },
        ].compactMap(\.self)
        return switch combination {
        case .all: answers.allSatisfy(\.self)
        case .any: answers.isEmpty || answers.contains(true)
        }
    }
}

/// A policy resolved for one workload: the only thing a backend sees.
package struct RedirectionPlan: Hashable, Sendable, Codable {
    package var isEnabled: Bool
    package var sidecar: Sidecar
    package var families: [AddressFamily: FamilyPolicy]
    /// The workload's own addresses, loopback not among them.
    package var ownAddresses: Set<IPAddress>
    /// Whether the application reaches the workload's own addresses directly.
    package var passesOwnAddresses: Bool
    /// What is done about name lookups; `nil` leaves them alone.
    package var dns: DNSCapture?
    package var excludedUIDs: IDSet
    package var excludedGIDs: IDSet
    package var ownerPortExclusions: [OwnerPortExclusion]
    package var virtualInterfaces: Set<VirtualInterface>
    package var inboundMode: InboundMode
    package var outbound: Selection
    package var inbound: Selection

    package init(
        isEnabled: Bool = true, sidecar: Sidecar,
        families: [AddressFamily: FamilyPolicy] = [.ipv4: .managed, .ipv6: .managed],
        ownAddresses: Set<IPAddress>, passesOwnAddresses: Bool = true, dns: DNSCapture? = nil,
        excludedUIDs: IDSet = [], excludedGIDs: IDSet = [],
        ownerPortExclusions: [OwnerPortExclusion] = [],
        virtualInterfaces: Set<VirtualInterface> = [], inboundMode: InboundMode = .redirect,
        outbound: Selection = Selection(), inbound: Selection = Selection()
    ) {
        self.isEnabled = isEnabled
        self.sidecar = sidecar
        self.families = families
        self.ownAddresses = ownAddresses
        self.passesOwnAddresses = passesOwnAddresses
        self.dns = dns
        self.excludedUIDs = excludedUIDs
        self.excludedGIDs = excludedGIDs
        self.ownerPortExclusions = ownerPortExclusions
        self.virtualInterfaces = virtualInterfaces
        self.inboundMode = inboundMode
        self.outbound = outbound
        self.inbound = inbound
    }

    /// What the plan does with `family`; a family it does not name is passed.
    package func policy(for family: AddressFamily) -> FamilyPolicy { families[family] ?? .pass }
}
