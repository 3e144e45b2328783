// SPDX-License-Identifier: Apache-2.0

/// A policy made into a plan for one workload.
package struct ResolvedPolicy: Hashable, Sendable {
    package let preset: Preset.Name
    package let mode: PolicyMode
    package let plan: RedirectionPlan
}

extension Policy {
    /// Returns the plan of a workload with these addresses, which may be of any layer's saying.
    ///
    /// Loopback is nobody's own address here, though an interface lists it.
    package func resolved(
        ownAddresses: Set<IPAddress>
    ) throws(PolicyConflicts) -> ResolvedPolicy {
        try resolved(over: Preset(named: preset ?? .fsm), ownAddresses: ownAddresses)
    }

    /// The same over this preset, whichever the policy names.
    func resolved(
        over preset: Preset, ownAddresses: Set<IPAddress>
    ) throws(PolicyConflicts) -> ResolvedPolicy {
        let own = ownAddresses.filter { !$0.isLoopback && !$0.isUnspecified }
        var resolution = Resolution(policy: self, preset: preset, own)
        resolution.resolveSidecar()
        resolution.resolveOutbound()
        resolution.resolveInbound()
        resolution.resolveDNS()
        guard resolution.conflicts.isEmpty else {
            throw PolicyConflicts(conflicts: resolution.conflicts, places: places)
        }
        return ResolvedPolicy(
            preset: preset.id, mode: mode ?? .auto, plan: resolution.plan)
    }
}

/// A plan in the making, and what is wrong with it.
private struct Resolution {
    let policy: Policy
    let preset: Preset
    var plan: RedirectionPlan
    var conflicts: [PolicyConflict] = []

    init(policy: Policy, preset: Preset, _ ownAddresses: Set<IPAddress>) {
        self.policy = policy
        self.preset = preset
        plan = preset.basis(ownAddresses: ownAddresses)
        plan.isEnabled = policy.mode != PolicyMode.none
        plan.families.merge(policy.families) { $1 }
        plan.virtualInterfaces = policy.virtualInterfaces ?? []
    }

    mutating func resolveSidecar() {
        let said = policy.sidecar
        plan.sidecar.uids = said.uids ?? preset.sidecar.uids
        plan.sidecar.gids = said.gids ?? preset.sidecar.gids
        if plan.sidecar.uids.isEmpty, plan.sidecar.gids.isEmpty {
            conflicts.append(.sidecarUnidentified)
        }
        plan.sidecar.outboundPort = said.outboundPort ?? preset.sidecar.outboundPort
        plan.sidecar.inboundPort = said.inboundPort ?? preset.sidecar.inboundPort
        if plan.sidecar.outboundPort == 0 { conflicts.append(.portIsZero("sidecar.outboundPort")) }
        if plan.sidecar.inboundPort == 0 { conflicts.append(.portIsZero("sidecar.inboundPort")) }
        plan.sidecar.tunnelPorts = said.tunnelPorts ?? preset.sidecar.tunnelPorts
        plan.sidecar.ownPorts = ownPorts(said.ports)
        plan.sidecar.redirectsSelfCalls =
            said.redirectsSelfCalls ?? preset.sidecar.redirectsSelfCalls
        plan.sidecar.passthroughSources =
            said.passthroughSources ?? preset.sidecar.passthroughSources
    }

    /// The ports the sidecar serves: said, or the preset's; and its tunnels'.
    ///
    /// Where the preset counts a port it listens on among them, the port that is in use counts
    /// instead.
    private func ownPorts(_ said: PortSet?) -> PortSet {
        let usual = preset.sidecar
        let listening: PortSet = [usual.outboundPort, usual.inboundPort]
        var ports = said ?? usual.ownPorts.subtracting(listening).subtracting(usual.tunnelPorts)
        let services = [
            (policy.sidecar.adminPort, preset.adminPort),
            (policy.sidecar.controlPort, preset.controlPort),
        ]
        // The usual ones go first, for one may move to where the other was.
        for case (_?, let usual?) in services where said == nil {
            ports = ports.subtracting([usual])
        }
        for case (let port?, _) in services { ports = ports.union([port]) }
        if usual.ownPorts.contains(usual.outboundPort) {
            ports = ports.union([plan.sidecar.outboundPort])
        }
        if usual.ownPorts.contains(usual.inboundPort) {
            ports = ports.union([plan.sidecar.inboundPort])
        }
        return ports.union(plan.sidecar.tunnelPorts)
    }

    mutating func resolveOutbound() {
        let said = policy.outbound
        plan.passesOwnAddresses = said.passesOwnAddresses ?? preset.passesOwnAddresses
        plan.excludedUIDs = preset.excludedUIDs.union(said.excludedUIDs)
        plan.excludedGIDs = said.excludedGIDs
        plan.ownerPortExclusions = said.excludedPortsByUser
        plan.outbound.exclude(said.excludedPorts, said.excludedNetworks, said.excludedInterfaces)
        plan.outbound.include(said.includedPorts, said.includedNetworks, said.combination)
        checkIncludes(
            plan.outbound, ports: said.includedPorts, networks: said.includedNetworks,
            names: ("outbound.include.ports", "outbound.include.cidrs"))
        plan.outbound.dropMootIncludes(families: plan.families)
    }

    mutating func resolveInbound() {
        let said = policy.inbound
        plan.inbound.exclude(said.excludedPorts, said.excludedSources, said.excludedInterfaces)
        plan.inbound.include(said.includedPorts, said.includedSources, said.combination)
        checkIncludes(
            plan.inbound, ports: said.includedPorts, networks: said.includedSources,
            names: ("inbound.include.ports", "inbound.include.sources"))
        plan.inbound.dropMootIncludes(families: plan.families)
        if said.style == .transparent { resolveTransparent() }
    }

    private mutating func resolveTransparent() {
        let mark = policy.inbound.mark ?? preset.transparent?.mark ?? 0
        let table = policy.inbound.table ?? preset.transparent?.table ?? 0
        if mark == 0 { conflicts.append(.transparentMissing("inbound.mark")) }
        if table == 0 { conflicts.append(.transparentMissing("inbound.table")) }
        // default, main and local (rt_tables(5)).
        if (253...255).contains(table) { conflicts.append(.tableReserved(table)) }
        plan.inboundMode = .transparent(mark: mark, table: table)
    }

    private mutating func checkIncludes(
        _ selection: Selection, ports: PortSet?, networks: Set<CIDR>?, names: (String, String)
    ) {
        if let ports, !ports.isEmpty, ports.subtracting(selection.excludedPorts).isEmpty {
            let texts = ports.ranges.map { RangeSet([$0]) }
            conflicts.append(.wholeIncludeExcluded(names.0, shortened(texts)))
        }
        if let networks, !networks.isEmpty, networks.lieWithin(selection.excludedNetworks) {
            conflicts.append(.wholeIncludeExcluded(names.1, shortened(networks.sorted())))
        }
    }

    /// A list as an error can show it.
    private func shortened(_ items: [some CustomStringConvertible]) -> String {
        let shown = items.prefix(3).map(\.description).joined(separator: ",")
        return items.count > 3 ? "\(shown) and \(items.count - 3) more" : shown
    }

    /// After the exclusions: one of port 53 is an exclusion from being captured, too.
    mutating func resolveDNS() {
        plan.dns = nil
        let scope = policy.dns.capture ?? preset.dns
        guard scope != .off else { return }
        if case .servers([]) = scope { conflicts.append(.dnsServersEmpty) }
        guard let port = policy.sidecar.dnsPort ?? preset.dnsPort else {
            conflicts.append(.dnsPortMissing(preset.id))
            return
        }
        if port == 0 { conflicts.append(.portIsZero("sidecar.dnsPort")) }
        if port == plan.sidecar.outboundPort {
            conflicts.append(.dnsPortTaken(port, by: "sidecar.outboundPort"))
        } else if port == plan.sidecar.inboundPort {
            conflicts.append(.dnsPortTaken(port, by: "sidecar.inboundPort"))
        }
        var protocols = policy.dns.protocols ?? Set(TransportProtocol.allCases)
        if protocols.isEmpty { conflicts.append(.dnsProtocolsEmpty) }
        if policy.outbound.excludesDNSOverUDP { protocols.remove(.udp) }
        if plan.outbound.excludedPorts.contains(DNSCapture.domainPort) { protocols.remove(.tcp) }
        guard !protocols.isEmpty else { return }
        plan.dns = DNSCapture(scope, port: port)
        plan.dns?.protocols = protocols
    }
}

extension Selection {
    fileprivate mutating func exclude(
        _ ports: PortSet, _ networks: Set<CIDR>, _ interfaces: Set<InterfacePattern>
    ) {
        excludedPorts = excludedPorts.union(ports)
        excludedNetworks.formUnion(networks)
        excludedInterfaces.formUnion(interfaces)
    }

    fileprivate mutating func include(
        _ ports: PortSet?, _ networks: Set<CIDR>?, _ combination: Combination?
    ) {
        includedPorts = ports ?? includedPorts
        includedNetworks = networks ?? includedNetworks
        self.combination = combination ?? self.combination
    }

    /// Drops include lists that let everything through, and with them, where one match is enough,
    /// the other list.
    ///
    /// Port 0 is no port: 1 to 65535 is everything.
    mutating func dropMootIncludes(families: [AddressFamily: FamilyPolicy]) {
        let managed = families.filter { $0.value == .managed }.keys
        let allPorts = includedPorts?.ranges.contains {
            $0.lowerBound <= 1 && $0.upperBound == .max
        }
        let allNetworks = includedNetworks.map { networks in
            managed.allSatisfy { networks.contains(.all($0)) }
        }
        let isAny = combination == .any
        if allPorts == true || isAny && allNetworks == true { includedPorts = nil }
        if allNetworks == true || isAny && allPorts == true { includedNetworks = nil }
    }
}
