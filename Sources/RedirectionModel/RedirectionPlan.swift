// SPDX-License-Identifier: Apache-2.0

/// What to do with a family's traffic.
package enum FamilyPolicy: String, Hashable, Sendable, Codable, CaseIterable {
    case managed
    case pass
    case drop
}

/// The proxy that receives the traffic: who it runs as and where it listens.
package struct Sidecar: Hashable, Sendable {
    package var uids: Set<UInt32>
    package var gids: Set<UInt32>
    package var outboundPort: UInt16
    package var inboundPort: UInt16
    /// Ports the sidecar itself serves: inbound flows to them are left alone.
    package var ownPorts: PortSet

    package init(
        uids: Set<UInt32>, gids: Set<UInt32> = [], outboundPort: UInt16, inboundPort: UInt16,
        ownPorts: PortSet
    ) {
        self.uids = uids
        self.gids = gids
        self.outboundPort = outboundPort
        self.inboundPort = inboundPort
        self.ownPorts = ownPorts
    }

    package func owns(_ owner: Owner) -> Bool {
        uids.contains(owner.uid) || gids.contains(owner.gid)
    }
}

/// How include lists of ports and of CIDRs combine when both are given.
package enum Combination: String, Hashable, Sendable, Codable {
    /// A flow must match every list that is given.
    case all
    /// A flow must match at least one of them.
    case any
}

/// Which flows of one direction are redirected.
///
/// `networks` are destinations outbound, sources inbound. An include list that is `nil` was not
/// given and lets everything through; an empty one lets nothing through.
package struct Selection: Hashable, Sendable {
    package var excludedPorts: PortSet
    package var excludedNetworks: Set<CIDR>
    package var excludedInterfaces: Set<String>
    package var includedPorts: PortSet?
    package var includedNetworks: Set<CIDR>?
    package var combination: Combination

    package init(
        excludedPorts: PortSet = [], excludedNetworks: Set<CIDR> = [],
        excludedInterfaces: Set<String> = [], includedPorts: PortSet? = nil,
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
package struct RedirectionPlan: Hashable, Sendable {
    package var isEnabled: Bool
    package var sidecar: Sidecar
    package var families: [AddressFamily: FamilyPolicy]
    /// The workload's own addresses, loopback not among them.
    package var ownAddresses: Set<IPAddress>
    package var excludedUIDs: Set<UInt32>
    package var excludedGIDs: Set<UInt32>
    package var outbound: Selection
    package var inbound: Selection

    package init(
        isEnabled: Bool = true, sidecar: Sidecar,
        families: [AddressFamily: FamilyPolicy] = [.ipv4: .managed, .ipv6: .managed],
        ownAddresses: Set<IPAddress>, excludedUIDs: Set<UInt32> = [],
        excludedGIDs: Set<UInt32> = [], outbound: Selection = Selection(),
        inbound: Selection = Selection()
    ) {
        self.isEnabled = isEnabled
        self.sidecar = sidecar
        self.families = families
        self.ownAddresses = ownAddresses
        self.excludedUIDs = excludedUIDs
        self.excludedGIDs = excludedGIDs
        self.outbound = outbound
        self.inbound = inbound
    }

    /// What the plan does with `family`; a family it does not name is passed.
    package func policy(for family: AddressFamily) -> FamilyPolicy { families[family] ?? .pass }
}
