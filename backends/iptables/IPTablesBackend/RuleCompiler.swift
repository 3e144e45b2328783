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
        if case .transparent(let mark, let table) = plan.inboundMode {
            routing = Routing(mark: mark, table: table)
        }
        for part in [compiler.zones(), compiler.drops(), compiler.lookups()] {
            hooks += part.hooks
            chains += part.chains
        }
        let connections = compiler.connections()
        hooks += connections.hooks
        chains += connections.chains
        chains.removeAll { $0.rules.isEmpty }
    }
}

/// Some hooks and the chains they lead to.
struct RulePart {
    var hooks: [Hook] = []
    var chains: [Chain] = []

    mutating func hook(_ point: Hook.Point, _ rule: Rule) { hooks.append(Hook(point, rule)) }
    mutating func chain(_ name: Chain.Name, _ rules: [Rule]) { chains.append(Chain(name, rules)) }
}

/// The parts of a plan as chains; each file beside this one has one part.
struct RuleCompiler {
    let plan: RedirectionPlan
    let managed: Set<AddressFamily>
    let passed: Set<AddressFamily>
    let dropped: Set<AddressFamily>
    /// The interfaces behind which there are machines.
    let virtual: Set<InterfacePattern>

    init(_ plan: RedirectionPlan) {
        func families(_ policy: FamilyPolicy) -> Set<AddressFamily> {
            Set(AddressFamily.allCases.filter { plan.policy(for: $0) == policy })
        }
        self.plan = plan
        managed = families(.managed)
        passed = families(.pass)
        dropped = families(.drop)
        virtual = Set(plan.virtualInterfaces.map(\.interface))
    }

    var isTransparent: Bool { plan.inboundMode != .redirect }

    // MARK: Pieces

    func pass(
        _ families: Set<AddressFamily>, _ match: Rule.Match?, _ reason: Reason
    ) -> [Rule] {
        families.isEmpty ? [] : [Rule(families, match, .decide(Verdict(.pass, reason)))]
    }

    func pass(
        _ ranges: [AddressRanges], _ peers: (AddressRanges) -> Rule.Match, _ reason: Reason
    ) -> [Rule] {
        ranges.flatMap { pass([$0.family], match($0, peers), reason) }
    }

    /// Does `action` for each of the ranges.
    func each(
        _ ranges: [AddressRanges], _ peers: (AddressRanges) -> Rule.Match, _ action: Rule.Action
    ) -> [Rule] {
        ranges.map { Rule([$0.family], match($0, peers), action) }
    }

    /// Does `action` for the sidecar's own sockets.
    func ofSidecar(_ families: Set<AddressFamily>, _ action: Rule.Action) -> [Rule] {
        let (uids, gids) = (plan.sidecar.uids, plan.sidecar.gids)
        return (uids.isEmpty ? [] : [Rule(families, .uids(uids), action)])
            + (gids.isEmpty ? [] : [Rule(families, .gids(gids), action)])
    }

    /// Every address of a family needs no match; the family itself says it.
    private func match(
        _ ranges: AddressRanges, _ peers: (AddressRanges) -> Rule.Match
    ) -> Rule.Match? {
        ranges.isEverything ? nil : peers(ranges)
    }

    /// The networks by family, of those that are managed.
    func ranges(of networks: some Sequence<CIDR>) -> [AddressRanges] {
        AddressFamily.allCases.filter(managed.contains)
            .map { AddressRanges($0, of: networks) }
            .filter { !$0.isEmpty }
    }

    /// The workload's own addresses; loopback, should it be listed, is loopback first.
    var own: [AddressRanges] {
        ranges(
            of: plan.ownAddresses.filter { !$0.isLoopback && !$0.isUnspecified }.map { CIDR($0) })
    }

    /// `127.0.0.0/8` and `::1`.
    var loopback: [AddressRanges] {
        ranges(
            of: AddressFamily.allCases.compactMap { family in
                CIDR(.loopback(family), prefixLength: family == .ipv4 ? 8 : 128)
            })
    }

    /// Sources from which the sidecar hands on what it has let through.
    var handedOn: [AddressRanges] { ranges(of: plan.sidecar.passthroughSources.map { CIDR($0) }) }
}
