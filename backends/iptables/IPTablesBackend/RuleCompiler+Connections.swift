// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

/// TCP connections of the families that are managed or passed.
extension RuleCompiler {
    func connections() -> RulePart {
        let everything = managed.union(passed)
        var part = RulePart()
        guard !everything.isEmpty else { return part }
        part.hook(.natOutput, Rule(everything, .newTCP, .jump(.outbound)))
        part.chains += outboundChains()
        if isTransparent {
            part.hook(.manglePrerouting, Rule(everything, .newTCP, .jump(.inbound)))
            // With SYN cookies the handshake's last segment belongs to no socket; left alone, it
            // would come to the application's listener.
            if !managed.isEmpty {
                part.hook(.manglePrerouting, Rule(managed, .remembered, .jump(.inboundLater)))
                let port = plan.sidecar.inboundPort
                part.chain(.inboundLater, [Rule(managed, nil, .assignLater(port: port))])
            }
            if !virtual.isEmpty {
                part.hook(.natPrerouting, Rule(everything, .newTCP, .jump(.arriving)))
                part.chain(
                    .arriving, [Rule(everything, .inInterfaces(virtual), .goto(.virtual))])
            }
        } else {
            part.hook(.natPrerouting, Rule(everything, .newTCP, .jump(.inbound)))
        }
        part.chains += inboundChains()
        if !virtual.isEmpty { part.chains += virtualChains() }
        return part
    }

    // MARK: Outbound

    private func outboundChains() -> [Chain] {
        let rules = pass(passed, nil, .family)
        guard !managed.isEmpty else { return [Chain(.outbound, rules)] }
        let application = applicationRules()
        let toSidecar = ofSidecar(managed, .goto(.sidecar))
        let local = loopback + own
        guard !handedOn.isEmpty else {
            return [Chain(.outbound, rules + toSidecar + application.rules)] + sidecarChains()
                + application.chains
        }
        let others = toSidecar + [Rule(managed, nil, .goto(.application))]
        return [
            Chain(
                .outbound,
                rules + each(handedOn, Rule.Match.sources, .goto(.passthrough)) + others),
            Chain(.passthrough, pass(local, Rule.Match.destinations, .passthrough) + others),
            Chain(.application, application.rules),
        ] + sidecarChains() + application.chains
    }

    /// What nobody but an application sends, from loopback on.
    private func applicationRules() -> (rules: [Rule], chains: [Chain]) {
        var rules = pass(loopback, Rule.Match.destinations, .loopback)
        if plan.passesOwnAddresses { rules += pass(own, Rule.Match.destinations, .ownAddress) }
        if !plan.excludedUIDs.isEmpty { rules += pass(managed, .uids(plan.excludedUIDs), .uid) }
        if !plan.excludedGIDs.isEmpty { rules += pass(managed, .gids(plan.excludedGIDs), .gid) }
        let selected = selection(
            plan.outbound,
            at: SelectionSite(
                interfaces: Rule.Match.outInterfaces, peers: Rule.Match.destinations,
                excluded: .cidrExcluded, redirect: redirectOutbound, included: .outboundIncluded))
        let classes = plan.ownerPorts(.tcp)
        guard !classes.isEmpty else { return (rules + selected.rules, selected.chains) }
        var chains: [Chain] = []
        for (number, owners) in classes.enumerated() {
            let name = Chain.Name("owner_ports_\(number + 1)")
            rules.append(Rule(managed, .uids(owners.uids), .goto(name)))
            chains.append(
                Chain(
                    name,
                    pass(managed, .destinationPorts(owners.ports), .uidPort)
                        + [Rule(managed, nil, .goto(.outboundSelected))]))
        }
        rules.append(Rule(managed, nil, .goto(.outboundSelected)))
        return (rules, chains + [Chain(.outboundSelected, selected.rules)] + selected.chains)
    }

    var redirectOutbound: Rule.Action {
        .decide(Verdict(.redirectOutbound(port: plan.sidecar.outboundPort), .outbound))
    }

    /// What the sidecar sends: to the workload's own addresses it is a call to itself, which
    /// the inbound side must see, unless it hands on what that side has let through.
    private func sidecarChains() -> [Chain] {
        let others = pass(managed, nil, .sidecar)
        guard !plan.sidecar.uids.isEmpty || !plan.sidecar.gids.isEmpty else { return [] }
        let itself = Verdict(.redirectInbound(port: plan.sidecar.inboundPort), .selfCall)
        let tunnels = plan.sidecar.tunnelPorts
        let toTunnel = tunnels.isEmpty ? [] : pass(managed, .destinationPorts(tunnels), .sidecar)
        let calls = plan.sidecar.redirectsSelfCalls
        guard isTransparent, !own.isEmpty else {
            guard calls, !own.isEmpty else { return [Chain(.sidecar, others)] }
            let selfCalls = each(own, Rule.Match.destinations, .decide(itself))
            return [Chain(.sidecar, toTunnel + selfCalls + others)]
        }
        // From an address that is not the workload's it speaks for its client.
        return [
            Chain(.sidecar, each(own, Rule.Match.destinations, .goto(.sidecarLocal)) + others),
            Chain(
                .sidecarLocal,
                each(own + loopback, Rule.Match.sources, .goto(.selfCall))
                    + pass(managed, nil, .passthrough)),
            Chain(
                .selfCall,
                calls ? toTunnel + [Rule(managed, nil, .decide(itself))] : others),
        ]
    }

    // MARK: Inbound

    private func inboundChains() -> [Chain] {
        let everything = managed.union(passed)
        var rules: [Rule] = []
        if !virtual.isEmpty {
            let elsewhere: Rule.Action = isTransparent ? .leave : .goto(.virtual)
            rules.append(Rule(everything, .inInterfaces(virtual), elsewhere))
        }
        rules += pass(everything, .inInterfaces(["lo"]), .loopback)
        rules += pass(passed, nil, .family)
        guard !managed.isEmpty else { return [Chain(.inbound, rules)] }
        let sidecar = plan.sidecar
        let ports = sidecar.ownPorts.union([sidecar.inboundPort])
        rules += pass(managed, .destinationPorts(ports), .sidecarPort)
        let verdict = Verdict(.redirectInbound(port: sidecar.inboundPort), .inbound)
        let selected = selection(
            plan.inbound,
            at: SelectionSite(
                interfaces: Rule.Match.inInterfaces, peers: Rule.Match.sources,
                excluded: .sourceExcluded,
                redirect: isTransparent ? .assign(verdict) : .decide(verdict),
                included: .inboundIncluded))
        return [Chain(.inbound, rules + selected.rules)] + selected.chains
    }
}

extension Chain.Name {
    static let outbound = Chain.Name("outbound")
    /// What comes from a source that may be the sidecar's, for handing on.
    static let passthrough = Chain.Name("passthrough")
    /// What is not the sidecar's.
    static let application = Chain.Name("application")
    /// What the sidecar itself sends.
    static let sidecar = Chain.Name("sidecar")
    /// What a transparent sidecar sends to the workload's own addresses.
    static let sidecarLocal = Chain.Name("sidecar_local")
    static let selfCall = Chain.Name("self_call")
    /// What is left when owners have had their say.
    static let outboundSelected = Chain.Name("outbound_selected")
    /// What has passed one of two include lists that must both match.
    static let outboundIncluded = Chain.Name("outbound_included")
    static let inbound = Chain.Name("inbound")
    /// What follows the first segment of what was handed to the sidecar.
    static let inboundLater = Chain.Name("inbound_later")
    static let inboundIncluded = Chain.Name("inbound_included")
    /// What arrives, where what arrives from outside is not for nat to redirect.
    static let arriving = Chain.Name("arriving")
}

extension RedirectionPlan {
    /// Users with ports of their own, cut so that each user is in one class.
    func ownerPorts(_ transport: TransportProtocol) -> [(uids: IDSet, ports: PortSet)] {
        var classes: [(uids: IDSet, ports: PortSet)] = []
        for exclusion in ownerPortExclusions where exclusion.protocols.contains(transport) {
            var rest = exclusion.uids
            var cut: [(uids: IDSet, ports: PortSet)] = []
            for (uids, ports) in classes {
                let others = uids.subtracting(exclusion.uids)
                cut.append((others, ports))
                cut.append((uids.subtracting(others), ports.union(exclusion.ports)))
                rest = rest.subtracting(uids)
            }
            classes = (cut + [(rest, exclusion.ports)]).filter { !$0.uids.isEmpty }
        }
        // Those with the same ports are one, whatever order the exclusions came in.
        return Dictionary(grouping: classes, by: \.ports).map { ports, classes in
            (classes.reduce(IDSet()) { $0.union($1.uids) }, ports)
        }.filter { !$0.1.isEmpty }.sorted { $0.0.first ?? 0 < $1.0.first ?? 0 }
    }
}
