// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

extension PolicyField {
    /// The language, in the order in which it is written.
    static let all: [PolicyField] =
        [
            choice("preset", "preset", \.preset),
            choice("mode", "mode", \.mode),
        ] + sidecar + familiesAndDNS + outbound + inbound + [.virtualInterfaces]

    static let byPath = Dictionary(uniqueKeysWithValues: all.map { ($0.path, $0) })
    static let byAnnotation = Dictionary(uniqueKeysWithValues: all.map { ($0.annotation, $0) })

    private static let ports = ListText.ranges(ValueText.portRange)
    private static let ids = ListText.ranges(ValueText.idRange)
    private static let cidrs = ListText.set(ValueText.cidr)
    private static let interfaces = ListText<Set<InterfacePattern>>.set {
        (text, _) throws(ValueProblem) in try ValueText.interface(text)
    }
    private static let addresses = ListText<Set<IPAddress>>.set {
        (text, _) throws(ValueProblem) in try ValueText.address(text)
    }
    private static let protocols = ListText<Set<TransportProtocol>>.set(
        { (text, _) throws(ValueProblem) in try ValueText.choice(text) }, { $0.rawValue })

    private static func port(
        _ path: String, _ annotation: String, _ target: any Path<UInt16?>
    ) -> PolicyField {
        value(path, annotation, target, ValueText.port) { "\($0)" }
    }

    private static func boolean(
        _ path: String, _ annotation: String, _ target: any Path<Bool?>
    ) -> PolicyField {
        value(path, annotation, target, ValueText.boolean) { "\($0)" }
    }

    private static let sidecar: [PolicyField] = [
        list("sidecar.uids", "sidecar-uids", \.sidecar.uids, ids),
        list("sidecar.gids", "sidecar-gids", \.sidecar.gids, ids),
        port("sidecar.outboundPort", "outbound-port", \.sidecar.outboundPort),
        port("sidecar.inboundPort", "inbound-port", \.sidecar.inboundPort),
        port("sidecar.dnsPort", "dns-port", \.sidecar.dnsPort),
        port("sidecar.adminPort", "admin-port", \.sidecar.adminPort),
        port("sidecar.controlPort", "control-port", \.sidecar.controlPort),
        list("sidecar.ports", "sidecar-ports", \.sidecar.ports, ports),
        list("sidecar.tunnelPorts", "tunnel-ports", \.sidecar.tunnelPorts, ports),
        boolean(
            "sidecar.redirectSelfCalls", "redirect-self-calls", \.sidecar.redirectsSelfCalls),
        list(
            "sidecar.passthroughSources", "passthrough-sources", \.sidecar.passthroughSources,
            addresses),
    ]

    private static let familiesAndDNS: [PolicyField] = [
        choice("families.ipv4", "ipv4", \.families[.ipv4]),
        choice("families.ipv6", "ipv6", \.families[.ipv6]),
        .dnsCapture,
        list("dns.protocols", "dns-protocols", \.dns.protocols, protocols),
    ]

    private static let outbound: [PolicyField] = [
        boolean(
            "outbound.passOwnAddresses", "pass-own-addresses", \.outbound.passesOwnAddresses),
        .outboundExcludedPorts,
        exclusion(
            "outbound.exclude.cidrs", "exclude-outbound-cidrs", \.outbound.excludedNetworks, cidrs),
        exclusion(
            "outbound.exclude.uids", "exclude-outbound-uids", \.outbound.excludedUIDs, ids),
        exclusion(
            "outbound.exclude.gids", "exclude-outbound-gids", \.outbound.excludedGIDs, ids),
        exclusion(
            "outbound.exclude.interfaces", "exclude-outbound-interfaces",
            \.outbound.excludedInterfaces, interfaces),
        .portsByUser,
        list(
            "outbound.include.ports", "include-outbound-ports", \.outbound.includedPorts, ports),
        list(
            "outbound.include.cidrs", "include-outbound-cidrs", \.outbound.includedNetworks, cidrs),
        choice(
            "outbound.include.combine", "combine-outbound-includes", \.outbound.combination),
    ]

    private static let inbound: [PolicyField] = [
        choice("inbound.mode", "inbound-mode", \.inbound.style),
        value("inbound.mark", "inbound-mark", \.inbound.mark, ValueText.number) { "\($0)" },
        value("inbound.table", "inbound-table", \.inbound.table, ValueText.number) { "\($0)" },
        exclusion(
            "inbound.exclude.ports", "exclude-inbound-ports", \.inbound.excludedPorts, ports),
        exclusion(
            "inbound.exclude.sources", "exclude-inbound-sources", \.inbound.excludedSources, cidrs),
        exclusion(
            "inbound.exclude.interfaces", "exclude-inbound-interfaces",
            \.inbound.excludedInterfaces, interfaces),
        list("inbound.include.ports", "include-inbound-ports", \.inbound.includedPorts, ports),
        list(
            "inbound.include.sources", "include-inbound-sources", \.inbound.includedSources, cidrs),
        choice("inbound.include.combine", "combine-inbound-includes", \.inbound.combination),
    ]
}
