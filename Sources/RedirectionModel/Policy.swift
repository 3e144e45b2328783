// SPDX-License-Identifier: Apache-2.0

/// What an operator writes about redirection: at most everything, usually little.
///
/// A field that is `nil` was not said, and is left to the next farther layer: the namespace, the
/// node, the preset (see `Policy.overlaid(by:)`). Exclusions have no such state, for they add up.
package struct Policy: Hashable, Sendable {
    package var preset: Preset.Name?
    package var mode: PolicyMode?
    package var sidecar = SidecarPolicy()
    package var families: [AddressFamily: FamilyPolicy] = [:]
    package var dns = DNSPolicy()
    package var outbound = OutboundPolicy()
    package var inbound = InboundPolicy()
    package var virtualInterfaces: Set<VirtualInterface>?
    package var places = FieldPlaces()

    package init() {}
}

/// Where each field was said, for errors that show only when layers come together.
///
/// Two policies that say the same in different places are equal.
package struct FieldPlaces: Hashable, Sendable {
    private var byField: [String: String] = [:]

    package init() {}

    /// `policy.yaml:7:3` of `sidecar.dnsPort`.
    package subscript(field: String) -> String? {
        get { byField[field] }
        set { byField[field] = newValue }
    }

    mutating func overlay(_ nearer: FieldPlaces) { byField.merge(nearer.byField) { $1 } }

    package static func == (_: FieldPlaces, _: FieldPlaces) -> Bool { true }
    package func hash(into _: inout Hasher) {}
}

/// What is said about the proxy.
package struct SidecarPolicy: Hashable, Sendable {
    package var uids: IDSet?
    package var gids: IDSet?
    package var outboundPort: UInt16?
    package var inboundPort: UInt16?
    package var dnsPort: UInt16?
    /// Where it serves its administrator and its control plane, in place of the preset's ports.
    package var adminPort: UInt16?
    package var controlPort: UInt16?
    /// Ports it serves besides those above.
    package var ports: PortSet?
    package var tunnelPorts: PortSet?
    package var redirectsSelfCalls: Bool?
    package var passthroughSources: Set<IPAddress>?

    package init() {}
}

/// Whose name lookups are taken.
package enum DNSScope: Hashable, Sendable {
    case off
    case all
    case servers(Set<IPAddress>)
}

/// What is said about name lookups.
package struct DNSPolicy: Hashable, Sendable {
    package var capture: DNSScope?
    package var protocols: Set<TransportProtocol>?

    package init() {}
}

/// What is said about what the workload sends.
package struct OutboundPolicy: Hashable, Sendable {
    package var passesOwnAddresses: Bool?
    /// TCP ports that are left alone.
    package var excludedPorts: PortSet = []
    /// Whether name lookups over UDP are left alone: `53` or `53/udp` among the excluded ports.
    package var excludesDNSOverUDP = false
    package var excludedNetworks: Set<CIDR> = []
    package var excludedUIDs: IDSet = []
    package var excludedGIDs: IDSet = []
    package var excludedInterfaces: Set<InterfacePattern> = []
    package var excludedPortsByUser: [OwnerPortExclusion] = []
    package var includedPorts: PortSet?
    package var includedNetworks: Set<CIDR>?
    package var combination: Combination?

    package init() {}
}

/// How inbound connections are to be given to the sidecar, without the numbers that takes.
package enum InboundStyle: String, Hashable, Sendable, CaseIterable {
    case redirect
    case transparent
}

/// What is said about what arrives at the workload.
package struct InboundPolicy: Hashable, Sendable {
    package var style: InboundStyle?
    package var mark: UInt32?
    package var table: UInt32?
    package var excludedPorts: PortSet = []
    package var excludedSources: Set<CIDR> = []
    package var excludedInterfaces: Set<InterfacePattern> = []
    package var includedPorts: PortSet?
    package var includedSources: Set<CIDR>?
    package var combination: Combination?

    package init() {}
}
