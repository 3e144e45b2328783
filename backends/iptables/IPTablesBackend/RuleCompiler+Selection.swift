// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

/// Where the rules of a selection stand, and how they say what it says.
struct SelectionSite {
    let interfaces: (Set<InterfacePattern>) -> Rule.Match
    let peers: (AddressRanges) -> Rule.Match
    let excluded: Reason
    let redirect: Rule.Action
    /// The chain of what has passed one of two include lists that must both match.
    let included: Chain.Name
}

extension RuleCompiler {
    /// The exclusions, then the include lists, then the redirection, of one direction: a chain's
    /// rules, and the chains they lead to.
    func selection(
        _ selection: Selection, at site: SelectionSite
    ) -> (rules: [Rule], chains: [Chain]) {
        let included = inclusions(of: selection, at: site)
        let rules =
            interfaceExclusion(of: selection, at: site)
            + listExclusions(of: selection, at: site) + included.rules
        return (rules, included.chains)
    }

    func interfaceExclusion(of selection: Selection, at site: SelectionSite) -> [Rule] {
        let interfaces = selection.excludedInterfaces
        return interfaces.isEmpty ? [] : pass(managed, site.interfaces(interfaces), .interface)
    }

    func listExclusions(of selection: Selection, at site: SelectionSite) -> [Rule] {
        let networks = pass(ranges(of: selection.excludedNetworks), site.peers, site.excluded)
        let ports = selection.excludedPorts
        return networks
            + (ports.isEmpty ? [] : pass(managed, .destinationPorts(ports), .portExcluded))
    }

    func inclusions(
        of selection: Selection, at site: SelectionSite
    ) -> (rules: [Rule], chains: [Chain]) {
        let otherwise = pass(managed, nil, .notIncluded)
        let byPort = selection.includedPorts.map { ports in
            ports.isEmpty ? [] : [Rule(managed, .destinationPorts(ports), site.redirect)]
        }
        let byPeer = selection.includedNetworks.map { networks in
            each(ranges(of: networks), site.peers, site.redirect)
        }
        guard byPort != nil || byPeer != nil else {
            return ([Rule(managed, nil, site.redirect)], [])
        }
        if selection.combination == .all, let byPort, let byPeer {
            let gate = byPort.map { Rule($0.families, $0.match, .goto(site.included)) }
            let chain = Chain(site.included, gate.isEmpty ? [] : byPeer + otherwise)
            return (gate + otherwise, [chain])
        }
        return ((byPort ?? []) + (byPeer ?? []) + otherwise, [])
    }
}
