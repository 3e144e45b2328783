// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

extension RuleSet {
    /// Compiles a plan: the rules of RedirectionPlan+Verdict.swift, line by line, in its order.
    ///
    /// A plan that is off compiles to no rules at all.
    package init(_ plan: RedirectionPlan) {
        self.init(fingerprint: plan.fingerprint)
        guard plan.isEnabled else { return }
        let compiler = RuleCompiler(plan)
        let everything = compiler.managed.union(compiler.passed)
        if !everything.isEmpty {
            hooks.append(Hook(.natOutput, Rule(everything, .tcp, .jump(.outbound))))
            hooks.append(Hook(.natPrerouting, Rule(everything, .tcp, .jump(.inbound))))
            chains += compiler.outboundChains() + compiler.inboundChains()
        }
        let dropped = compiler.dropped
        if !dropped.isEmpty {
            hooks.append(Hook(.filterOutput, Rule(dropped, .newTCP, .jump(.outboundDrop))))
            hooks.append(Hook(.filterInput, Rule(dropped, .newTCP, .jump(.inboundDrop))))
            chains += compiler.dropChains()
        }
        chains.removeAll { $0.rules.isEmpty }
    }
}

/// The parts of a plan as chains.
private struct RuleCompiler {
    let plan: RedirectionPlan
    let managed: Set<AddressFamily>
    let passed: Set<AddressFamily>
    let dropped: Set<AddressFamily>

    init(_ plan: RedirectionPlan) {
        func families(_ policy: FamilyPolicy) -> Set<AddressFamily> {
            Set(AddressFamily.allCases.filter { plan.policy(for: $0) == policy })
        }
        self.plan = plan
        managed = families(.managed)
        passed = families(.pass)
        dropped = families(.drop)
    }

    // MARK: Outbound

    func outboundChains() -> [Chain] {
        var rules = pass(passed, nil, .family)
        guard !managed.isEmpty else { return [Chain(.outbound, rules)] }
        let sidecar = plan.sidecar
        if !sidecar.uids.isEmpty {
            rules.append(Rule(managed, .uids(sidecar.uids), .goto(.sidecar)))
        }
        if !sidecar.gids.isEmpty {
            rules.append(Rule(managed, .gids(sidecar.gids), .goto(.sidecar)))
        }
        rules += pass(loopback, Rule.Match.destinations, .loopback)
        rules += pass(own, Rule.Match.destinations, .ownAddress)
        if !plan.excludedUIDs.isEmpty { rules += pass(managed, .uids(plan.excludedUIDs), .uid) }
        if !plan.excludedGIDs.isEmpty { rules += pass(managed, .gids(plan.excludedGIDs), .gid) }

        let selected = selection(
            plan.outbound, interfaces: Rule.Match.outInterfaces, peers: Rule.Match.destinations,
            excluded: .cidrExcluded, included: .outboundIncluded,
            redirection: Verdict(.redirectOutbound(port: sidecar.outboundPort), .outbound))
        return [
            Chain(.outbound, rules + selected.rules), sidecarChain(),
            Chain(.outboundIncluded, selected.included),
        ]
    }

    /// What the sidecar sends: to the workload's own addresses it is a call to itself, which
    /// the inbound side must see.
    private func sidecarChain() -> Chain {
        guard !plan.sidecar.uids.isEmpty || !plan.sidecar.gids.isEmpty else {
            return Chain(.sidecar, [])
        }
        let selfCall = Verdict(.redirectInbound(port: plan.sidecar.inboundPort), .selfCall)
        let calls = own.map { Rule([$0.family], .destinations($0), .decide(selfCall)) }
        return Chain(.sidecar, calls + pass(managed, nil, .sidecar))
    }

    // MARK: Inbound

    func inboundChains() -> [Chain] {
        var rules = pass(managed.union(passed), .inInterfaces(["lo"]), .loopback)
        rules += pass(passed, nil, .family)
        guard !managed.isEmpty else { return [Chain(.inbound, rules)] }
        let sidecar = plan.sidecar
        let ports = sidecar.ownPorts.union([sidecar.inboundPort])
        rules += pass(managed, .destinationPorts(ports), .sidecarPort)

        let selected = selection(
            plan.inbound, interfaces: Rule.Match.inInterfaces, peers: Rule.Match.sources,
            excluded: .sourceExcluded, included: .inboundIncluded,
            redirection: Verdict(.redirectInbound(port: sidecar.inboundPort), .inbound))
        return [
            Chain(.inbound, rules + selected.rules),
            Chain(.inboundIncluded, selected.included),
        ]
    }

    // MARK: Drop

    /// Only the first segment is dropped: a verdict is a connection's, and those that are
    /// established when the policy changes live to their end, as they do when it redirects.
    func dropChains() -> [Chain] {
        let drop = Rule(dropped, nil, .decide(Verdict(.drop, .family)))
        return [
            Chain(.outboundDrop, [drop]),
            Chain(.inboundDrop, pass(dropped, .inInterfaces(["lo"]), .loopback) + [drop]),
        ]
    }

    // MARK: Selection

    /// The exclusions, then the include lists, then the redirection, of one direction.
    ///
    /// `included` are the rules of the chain in between when both include lists must match.
    private func selection(
        _ selection: Selection, interfaces: (Set<InterfacePattern>) -> Rule.Match,
        peers: (AddressRanges) -> Rule.Match, excluded: Reason, included chain: Chain.Name,
        redirection: Verdict
    ) -> (rules: [Rule], included: [Rule]) {
        var rules: [Rule] = []
        if !selection.excludedInterfaces.isEmpty {
            rules += pass(managed, interfaces(selection.excludedInterfaces), .interface)
        }
        rules += pass(ranges(of: selection.excludedNetworks), peers, excluded)
        if !selection.excludedPorts.isEmpty {
            rules += pass(managed, .destinationPorts(selection.excludedPorts), .portExcluded)
        }

        let redirect = Rule.Action.decide(redirection)
        let otherwise = pass(managed, nil, .notIncluded)
        let byPort = selection.includedPorts.map { ports in
            ports.isEmpty ? [] : [Rule(managed, .destinationPorts(ports), redirect)]
        }
        let byPeer = selection.includedNetworks.map { networks in
            ranges(of: networks).map { Rule([$0.family], match($0, peers), redirect) }
        }
        guard byPort != nil || byPeer != nil else {
            return (rules + [Rule(managed, nil, redirect)], [])
        }
        if selection.combination == .all, let byPort, let byPeer {
            let gate = byPort.map { Rule($0.families, $0.match, .goto(chain)) }
            return (rules + gate + otherwise, gate.isEmpty ? [] : byPeer + otherwise)
        }
        return (rules + (byPort ?? []) + (byPeer ?? []) + otherwise, [])
    }

    // MARK: Pieces

    private func pass(
        _ families: Set<AddressFamily>, _ match: Rule.Match?, _ reason: Reason
    ) -> [Rule] {
        families.isEmpty ? [] : [Rule(families, match, .decide(Verdict(.pass, reason)))]
    }

    private func pass(
        _ ranges: [AddressRanges], _ peers: (AddressRanges) -> Rule.Match, _ reason: Reason
    ) -> [Rule] {
        ranges.flatMap { pass([$0.family], match($0, peers), reason) }
    }

    /// Every address of a family needs no match; the family itself says it.
    private func match(
        _ ranges: AddressRanges, _ peers: (AddressRanges) -> Rule.Match
    ) -> Rule.Match? {
        ranges.isEverything ? nil : peers(ranges)
    }

    private func ranges(of networks: some Sequence<CIDR>) -> [AddressRanges] {
        AddressFamily.allCases.filter(managed.contains)
            .map { AddressRanges($0, of: networks) }
            .filter { !$0.isEmpty }
    }

    /// The workload's own addresses; loopback, should it be listed, is loopback first.
    private var own: [AddressRanges] {
        ranges(of: plan.ownAddresses.filter { !$0.isLoopback }.map { CIDR($0) })
    }

    /// `127.0.0.0/8` and `::1`.
    private var loopback: [AddressRanges] {
        ranges(
            of: AddressFamily.allCases.compactMap { family in
                CIDR(.loopback(family), prefixLength: family == .ipv4 ? 8 : 128)
            })
    }
}
