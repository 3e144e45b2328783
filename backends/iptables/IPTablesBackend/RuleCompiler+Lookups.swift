// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

/// Name lookups that go to the sidecar, of any family: the first row of the table.
extension RuleCompiler {
    private static let everyFamily = Set(AddressFamily.allCases)
    /// Where captured lookups over UDP are tracked; all else is in zone 0.
    private static let zone: UInt16 = 1

    func lookups() -> RulePart {
        var part = RulePart()
        guard let dns = plan.dns else { return part }
        let redirect = Rule.Action.decide(Verdict(.redirectDNS(port: dns.port), .dns))
        for transport in TransportProtocol.allCases {
            let queries = queries(transport, redirect)
            guard !queries.isEmpty else { continue }
            part.hook(.natOutput, lookup(transport, .jump(.lookups(transport))))
            part.chain(
                .lookups(transport), notCaptured(transport, Self.everyFamily, .leave) + queries)
            guard !virtual.isEmpty else { continue }
            part.hook(.natPrerouting, lookup(transport, .jump(.arrivingLookups(transport))))
            part.chain(
                .arrivingLookups(transport), [fromVirtual(.goto(.virtualLookups(transport)))])
            part.chain(.virtualLookups(transport), queries)
        }
        return part
    }

    /// A connection tracking zone for captured lookups over UDP and their answers.
    ///
    /// A query's entry outlives its socket by the tracking timeout. Were it in the common zone
    /// and the sidecar to ask the same server from the same port meanwhile, that query would
    /// meet the entry, and come back to the sidecar instead of reaching the server.
    func zones() -> RulePart {
        var part = RulePart()
        let queries = queries(.udp, .zone(Self.zone))
        guard let dns = plan.dns, !queries.isEmpty else { return part }
        part.hook(.rawOutput, lookup(.udp, .jump(.zoneQueries)))
        part.chain(.zoneQueries, notCaptured(.udp, Self.everyFamily, .leave) + queries)
        // Whoever answers there: without the zone an answer is nobody's, and lost.
        part.hook(
            .rawOutput,
            Rule(Self.everyFamily, .sourcePorts([dns.port]), .jump(.zoneAnswers), of: .udp))
        part.chain(.zoneAnswers, [Rule(Self.everyFamily, nil, .zone(Self.zone), of: .udp)])
        guard !virtual.isEmpty else { return part }
        part.hook(.rawPrerouting, lookup(.udp, .jump(.arrivingZone)))
        part.chain(.arrivingZone, [fromVirtual(.goto(.virtualZone))])
        part.chain(.virtualZone, queries)
        return part
    }

    /// Does `action` for what begins a lookup, wherever it goes.
    private func lookup(_ transport: TransportProtocol, _ action: Rule.Action) -> Rule {
        let ports: PortSet = [DNSCapture.domainPort]
        switch transport {
        case .tcp: return Rule(Self.everyFamily, .newTCPToPorts(ports), action)
        case .udp: return Rule(Self.everyFamily, .destinationPorts(ports), action, of: .udp)
        }
    }

    private func fromVirtual(_ action: Rule.Action) -> Rule {
        Rule(Self.everyFamily, .inInterfaces(virtual), action)
    }

    /// Does `action` for those whose lookups are their own affair.
    func notCaptured(
        _ transport: TransportProtocol, _ families: Set<AddressFamily>, _ action: Rule.Action
    ) -> [Rule] {
        let uids = plan.ownerPorts(transport)
            .filter { $0.ports.contains(DNSCapture.domainPort) }
            .reduce(IDSet()) { $0.union($1.uids) }
        return ofSidecar(families, action)
            + (uids.isEmpty ? [] : [Rule(families, .uids(uids), action)])
    }

    /// Does `action` for lookups at a captured server; empty when the protocol is not captured.
    func queries(
        _ transport: TransportProtocol, _ action: Rule.Action,
        _ families: Set<AddressFamily> = everyFamily
    ) -> [Rule] {
        guard let dns = plan.dns, dns.protocols.contains(transport), !families.isEmpty else {
            return []
        }
        guard let servers = dns.servers else {
            return [Rule(families, nil, action, of: transport)]
        }
        return AddressFamily.allCases.filter(families.contains)
            .map { AddressRanges($0, of: servers.map { CIDR($0) }) }
            .filter { !$0.isEmpty }
            .map { Rule([$0.family], .destinations($0), action, of: transport) }
    }
}

extension Chain.Name {
    static func lookups(_ transport: TransportProtocol) -> Chain.Name {
        Chain.Name("dns_\(transport)")
    }

    static func arrivingLookups(_ transport: TransportProtocol) -> Chain.Name {
        Chain.Name("arriving_dns_\(transport)")
    }

    static func virtualLookups(_ transport: TransportProtocol) -> Chain.Name {
        Chain.Name("virtual_dns_\(transport)")
    }

    static let zoneQueries = Chain.Name("zone_queries")
    static let zoneAnswers = Chain.Name("zone_answers")
    static let arrivingZone = Chain.Name("arriving_zone")
    static let virtualZone = Chain.Name("virtual_zone")
}
