// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

/// What arrives on virtual interfaces: the outbound table for a socket that nobody here owns.
///
/// Chains of their own, for where packets arrive no rule may ask who sent them, nor where they
/// will leave.
extension RuleCompiler {
    func virtualChains() -> [Chain] {
        let rules = pass(passed, nil, .family)
        guard !managed.isEmpty else { return [Chain(.virtual, rules)] }
        let rest = restOfVirtual()
        guard !handedOn.isEmpty else {
            return [Chain(.virtual, rules + rest.rules)] + rest.chains
        }
        let others = [Rule(managed, nil, .goto(.virtualOthers))]
        return [
            Chain(
                .virtual,
                rules + each(handedOn, Rule.Match.sources, .goto(.virtualPassthrough)) + others),
            Chain(
                .virtualPassthrough,
                pass(loopback + own, Rule.Match.destinations, .passthrough) + others),
            Chain(.virtualOthers, rest.rules),
        ] + rest.chains
    }

    private func restOfVirtual() -> (rules: [Rule], chains: [Chain]) {
        var rules = pass(loopback, Rule.Match.destinations, .loopback)
        if plan.passesOwnAddresses { rules += pass(own, Rule.Match.destinations, .ownAddress) }
        let site = SelectionSite(
            interfaces: Rule.Match.inInterfaces, peers: Rule.Match.destinations,
            excluded: .cidrExcluded, redirect: redirectOutbound, included: .virtualIncluded)
        let behind = networksBehind()
        var selection = plan.outbound
        let common = behind.first?.networks ?? []
        if behind.allSatisfy({ $0.networks == common }) {
            selection.excludedNetworks.formUnion(common)
            let selected = self.selection(selection, at: site)
            return (rules + selected.rules, selected.chains)
        }
        // Each interface's own networks, then what is common to all.
        rules += interfaceExclusion(of: selection, at: site)
        var chains: [Chain] = []
        let others = [Rule(managed, nil, .goto(.virtualSelected))]
        for (number, (pattern, networks)) in behind.enumerated() {
            let local = pass(ranges(of: networks), Rule.Match.destinations, .cidrExcluded)
            let name = Chain.Name("virtual_local_\(number + 1)")
            rules.append(Rule(managed, .inInterfaces([pattern]), .goto(name)))
            chains.append(Chain(name, local + others))
        }
        let included = inclusions(of: selection, at: site)
        chains.append(
            Chain(.virtualSelected, listExclusions(of: selection, at: site) + included.rules))
        return (rules, chains + included.chains)
    }

    /// Each pattern with what is local to it, the narrowest first.
    ///
    /// The patterns that match a name are the beginnings of one another, so the networks of the
    /// narrowest and of all that cover it are those of the name.
    private func networksBehind() -> [(pattern: InterfacePattern, networks: Set<CIDR>)] {
        virtual.sorted { one, other in
            if one.isPrefix != other.isPrefix { return other.isPrefix }
            if one.name.utf8.count != other.name.utf8.count {
                return one.name.utf8.count > other.name.utf8.count
            }
            return one < other
        }.map { pattern in
            let covering = plan.virtualInterfaces.filter { $0.interface.covers(pattern) }
            return (pattern, covering.reduce(into: []) { $0.formUnion($1.localNetworks) })
        }
    }
}

extension InterfacePattern {
    /// True when every name that matches `other` matches this.
    fileprivate func covers(_ other: InterfacePattern) -> Bool {
        self == other || isPrefix && other.name.hasPrefix(name)
    }
}

extension Chain.Name {
    static let virtual = Chain.Name("virtual")
    static let virtualPassthrough = Chain.Name("virtual_passthrough")
    static let virtualOthers = Chain.Name("virtual_others")
    static let virtualSelected = Chain.Name("virtual_selected")
    static let virtualIncluded = Chain.Name("virtual_included")
}
