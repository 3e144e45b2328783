// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

extension PolicyField {
    /// `off`, `all`, or the resolvers.
    static let dnsCapture = PolicyField(
        path: "dns.capture", annotation: "dns-capture", shape: .either,
        read: { text, dialect, policy in
            let allowed = "off, all, or a list of resolvers' addresses"
            switch text {
            case .value("off"): policy.dns.capture = .off
            case .value("all"): policy.dns.capture = .all
            case .value: return [ValueProblem("is neither off nor all", allowed: allowed)]
            case .list([]):
                return [ValueProblem("is an empty list, which captures nothing", allowed: allowed)]
            case .list(let texts):
                let servers = ListText<Set<IPAddress>>.set {
                    (text, _) throws(ValueProblem) in try ValueText.address(text)
                }
                let (addresses, problems) = servers.read(texts, dialect)
                policy.dns.capture = .servers(addresses)
                return problems
            }
            return []
        },
        write: { policy in
            switch policy.dns.capture {
            case nil: nil
            case .off: .value("off")
            case .all: .value("all")
            case .servers(let servers): .list(servers.sorted().map { "\($0)" })
            }
        })

    /// TCP ports; `53/udp`, or 53 without a protocol, is about name lookups over UDP as well.
    static let outboundExcludedPorts = PolicyField(
        path: "outbound.exclude.ports", annotation: "exclude-outbound-ports", shape: .list,
        read: { text, dialect, policy in
            var tcp: [(Int, ClosedRange<UInt16>)] = []
            var udp: [(Int, ClosedRange<UInt16>)] = []
            var index = 0
            let problems = text.items.problems { (item) throws(ValueProblem) in
                defer { index += 1 }
                let (range, protocols) = try protocolPorts(item)
                if protocols.contains(.tcp) { tcp.append((index, range)) }
                if protocols.contains(.udp) { udp.append((index, range)) }
            }
            policy.outbound.excludedPorts = policy.outbound.excludedPorts
                .union(PortSet(tcp.map(\.1)))
            if udp.contains(where: { $0.1.contains(DNSCapture.domainPort) }) {
                policy.outbound.excludesDNSOverUDP = true
            }
            if dialect.allowsRepeats { return problems }
            let overlapping = overlaps(tcp)
            let known = Set(overlapping)
            return problems + overlapping + overlaps(udp).filter { !known.contains($0) }
        },
        write: { policy in
            var ports = policy.outbound.excludedPorts
            let dns = DNSCapture.domainPort
            var extra: [String] = []
            if ports.contains(dns), !policy.outbound.excludesDNSOverUDP {
                ports = ports.subtracting([dns])
                extra = ["\(dns)/tcp"]
            } else if !ports.contains(dns), policy.outbound.excludesDNSOverUDP {
                extra = ["\(dns)/udp"]
            }
            let texts = ports.texts + extra
            return texts.isEmpty ? nil : .list(texts)
        })

    private static func protocolPorts(
        _ text: String
    ) throws(ValueProblem) -> (ClosedRange<UInt16>, Set<TransportProtocol>) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        let range = try ValueText.portRange(String(parts[0]))
        guard parts.count == 2 else { return (range, [.tcp, .udp]) }
        guard let named = TransportProtocol(rawValue: String(parts[1])) else {
            throw ValueProblem("names an unknown protocol", allowed: "80, 80/tcp, 53/udp")
        }
        guard named == .tcp || range == DNSCapture.domainPort...DNSCapture.domainPort else {
            throw ValueProblem(
                "is not redirected anyway: only DNS over UDP is redirected", allowed: "53/udp")
        }
        return (range, [named])
    }
}
