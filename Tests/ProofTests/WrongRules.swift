// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import RedirectionModel

/// Mistakes in the rule compiler itself: rules that are wrong for a plan that is right.
enum WrongRules: String, CaseIterable, Codable, Sendable {
    case exclusionAfterRedirection = "an excluded port is looked for after the redirection"
    case ownBeforeSidecar = "own addresses pass before the sidecar is looked for"
    case selfCallsLast = "the sidecar passes before its calls to itself are looked for"
    case portsEndEarly = "a range of ports in a rule ends one early"
    case includesLast = "nothing is included before include lists are looked at"
    case connectionsBeforeLookups = "connections are redirected before lookups are captured"
    case noFamilyGuard = "rules of one family are for both"
    case firstTwenty = "a rule's match ends after twenty items"
    case noZones = "lookups are tracked with everything else"
    case noAnswerZone = "answers are tracked apart from their lookups"
    case networksEndEarly = "a network in a rule ends one early"
    case sidecarIsCaptured = "the sidecar's own lookups are captured"
    case loopbackBeforeSidecar = "loopback passes before the sidecar is looked for"

    /// Each flavor is somebody's.
    var flavor: IPTablesBackend.Flavor {
        (Self.allCases.firstIndex(of: self) ?? 0).isMultiple(of: 2) ? .nft : .legacy
    }

    /// How many attempts it takes to see it.
    var attempts: Int { self == .noZones ? 2 : 1 }

    func compile(_ plan: RedirectionPlan) -> RuleSet {
        var rules = RuleSet(plan)
        switch self {
        case .noZones: rules.forget { $0.isZone }
        case .noAnswerZone: rules.forget { $0 == Chain.Name("zone_answers") }
        case .connectionsBeforeLookups: rules.hooks = rules.hooks.swapped(areSwapped)
        default:
            for index in rules.chains.indices { change(&rules.chains[index].rules) }
        }
        return rules
    }

    /// Whether nothing but the counters shows it.
    var isOnlyCounted: Bool { self == .loopbackBeforeSidecar }

    // MARK: Rules

    private func change(_ rules: inout [Rule]) {
        switch self {
        case .ownBeforeSidecar:
            guard rules.contains(where: { $0.leads(to: "sidecar") }) else { return }
            let own = rules.filter { $0.reason == .ownAddress }
            rules = own + rules.filter { $0.reason != .ownAddress }
        case .noFamilyGuard:
            for index in rules.indices where !rules[index].isAboutAddresses {
                rules[index].families = Set(AddressFamily.allCases)
            }
        case .sidecarIsCaptured: rules.removeAll { $0.action == .leave && $0.isAboutOwners }
        case .portsEndEarly, .networksEndEarly, .firstTwenty:
            for index in rules.indices { rules[index].match = rules[index].match.map(changed) }
        default: rules = rules.swapped(areSwapped)
        }
    }

    /// Whether two neighbors change places.
    private func areSwapped(_ one: Rule, _ other: Rule) -> Bool {
        switch self {
        case .exclusionAfterRedirection:
            one.reason == .portExcluded && (other.reason == .outbound || other.reason == .inbound)
        case .selfCallsLast: one.reason == .selfCall && other.reason == .sidecar
        case .loopbackBeforeSidecar: one.leads(to: "sidecar") && other.reason == .loopback
        case .includesLast: one.isRedirection && other.reason == .notIncluded
        default: false
        }
    }

    private func areSwapped(_ one: Hook, _ other: Hook) -> Bool {
        one.point == .natOutput && one.rule.leads(to: "dns_tcp")
            && other.rule.leads(to: "outbound")
    }

    // MARK: Matches

    private func changed(_ match: Rule.Match) -> Rule.Match {
        switch (self, match) {
        case (.portsEndEarly, .destinationPorts(let ports)):
            .destinationPorts(
                PortSet(
                    ports.ranges.map {
                        $0.count == 1 ? $0 : $0.lowerBound...($0.upperBound - 1)
                    }))
        case (.firstTwenty, .destinationPorts(let ports)):
            .destinationPorts(PortSet(ports.ranges.prefix(20)))
        case (_, .sources(let addresses)): .sources(changed(addresses))
        case (_, .destinations(let addresses)): .destinations(changed(addresses))
        default: match
        }
    }

    private func changed(_ addresses: AddressRanges) -> AddressRanges {
        let networks = addresses.networks
        return switch self {
        case .firstTwenty: AddressRanges(addresses.family, of: networks.prefix(20))
        case .networksEndEarly:
            AddressRanges(addresses.family, of: networks.flatMap(\.allButTheLast))
        default: addresses
        }
    }
}

// MARK: Pieces

extension RuleSet {
    /// Leaves out the chains of these names, and the hooks that lead to them.
    fileprivate mutating func forget(_ isForgotten: (Chain.Name) -> Bool) {
        hooks.removeAll { $0.rule.next.map(isForgotten) ?? false }
        chains.removeAll { isForgotten($0.name) }
    }
}

extension Chain.Name {
    fileprivate var isZone: Bool { rawValue.contains("zone") }
}

extension Rule {
    fileprivate var reason: Reason? {
        switch action {
        case .decide(let verdict), .assign(let verdict): verdict.reason
        case .assignLater, .zone, .leave, .jump, .goto: nil
        }
    }

    fileprivate var next: Chain.Name? {
        switch action {
        case .jump(let chain), .goto(let chain): chain
        case .decide, .assign, .assignLater, .zone, .leave: nil
        }
    }

    fileprivate var isRedirection: Bool { reason == .outbound || reason == .inbound }

    fileprivate func leads(to chain: String) -> Bool { next?.rawValue == chain }

    fileprivate var isAboutAddresses: Bool {
        switch match {
        case .sources, .destinations: true
        default: false
        }
    }

    fileprivate var isAboutOwners: Bool {
        switch match {
        case .uids, .gids: true
        default: false
        }
    }
}

extension Array {
    /// With the neighbors in each other's place of which `areSwapped` says so.
    fileprivate func swapped(_ areSwapped: (Element, Element) -> Bool) -> [Element] {
        var list = self
        for index in indices.dropLast() where areSwapped(list[index], list[index + 1]) {
            list.swapAt(index, index + 1)
        }
        return list
    }
}

extension CIDR {
    /// The networks that cover everything but the last address; one of a single address is kept.
    fileprivate var allButTheLast: [CIDR] {
        let upper = CIDR(last, prefixLength: prefixLength + 1)
        guard let upper, let lower = CIDR(network, prefixLength: prefixLength + 1) else {
            return [self]
        }
        // The last half that cannot be cut is the last address.
        return [lower] + (upper.network == upper.last ? [] : upper.allButTheLast)
    }
}
