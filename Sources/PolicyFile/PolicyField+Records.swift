// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

/// Lists of records. In a file they are mappings (see `RecordKeys`); in an annotation, and inside,
/// a record is a text whose parts are separated by colons.
extension PolicyField {
    /// `USERS:PORTS` or `USERS:PORTS:PROTOCOLS`, such as `1000-2000:80,443:tcp`.
    static let portsByUser = PolicyField(
        path: "outbound.exclude.portsByUser", annotation: "exclude-outbound-ports-by-user",
        shape: .list,
        read: { text, _, policy in
            var known = Set(policy.outbound.excludedPortsByUser)
            var read: Set<OwnerPortExclusion> = []
            let problems = text.items.problems { (item) throws(ValueProblem) in
                let exclusion = try ownerPortExclusion(item)
                guard read.insert(exclusion).inserted else {
                    throw ValueProblem("is in the list already")
                }
                if known.insert(exclusion).inserted {
                    policy.outbound.excludedPortsByUser.append(exclusion)
                }
            }
            return problems
        },
        write: { policy in
            let texts = policy.outbound.excludedPortsByUser.map { exclusion in
                let protocols = exclusion.protocols.map(\.rawValue).sorted()
                return "\(exclusion.uids):\(exclusion.ports):\(protocols.joined(separator: ","))"
            }
            return texts.isEmpty ? nil : .list(texts)
        })

    private static func ownerPortExclusion(
        _ text: String
    ) throws(ValueProblem) -> OwnerPortExclusion {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard (2...3).contains(parts.count) else {
            throw ValueProblem(
                "is not users and ports", allowed: "1000-2000:80,443 or 1000:53:udp")
        }
        let uids = try items(parts[0], .ranges(ValueText.idRange))
        let ports = try items(parts[1], .ranges(ValueText.portRange))
        var protocols = Set(TransportProtocol.allCases)
        if parts.count == 3 {
            protocols = try items(
                parts[2],
                .set { (text, _) throws(ValueProblem) in
                    try ValueText.choice(text)
                } _: {
                    $0.rawValue
                })
        }
        if protocols == [.udp], !ports.contains(DNSCapture.domainPort) {
            throw ValueProblem(
                "is not redirected anyway: only DNS over UDP is redirected", allowed: "53, or tcp")
        }
        return OwnerPortExclusion(uids: uids, ports: ports, protocols: protocols)
    }

    /// `NAME` or `NAME:NETWORK,NETWORK`, such as `br+:172.18.0.0/16`.
    static let virtualInterfaces = PolicyField(
        path: "virtualInterfaces", annotation: "virtual-interfaces", shape: .list,
        read: { text, dialect, policy in
            var read: Set<VirtualInterface> = []
            var names: Set<InterfacePattern> = []
            let problems = text.items.problems { (item) throws(ValueProblem) in
                let virtual = try virtualInterface(item, dialect)
                guard names.insert(virtual.interface).inserted else {
                    throw ValueProblem("names an interface that is in the list already")
                }
                read.insert(virtual)
            }
            policy.virtualInterfaces = read
            return problems
        },
        write: { policy in
            policy.virtualInterfaces.map { interfaces in
                let sorted = interfaces.sorted { $0.interface < $1.interface }
                return .list(
                    sorted.map { virtual in
                        let networks = virtual.localNetworks.sorted().map { "\($0)" }
                        return networks.isEmpty
                            ? "\(virtual.interface)"
                            : "\(virtual.interface):\(networks.joined(separator: ","))"
                    })
            }
        })

    private static func virtualInterface(
        _ text: String, _ dialect: Dialect
    ) throws(ValueProblem) -> VirtualInterface {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let name = try ValueText.virtualInterface(String(parts[0]))
        guard parts.count == 2 else { return VirtualInterface(name) }
        return VirtualInterface(
            name, localNetworks: try items(String(parts[1]), .set(ValueText.cidr), dialect))
    }

    /// The comma-separated items of one part; at least one.
    private static func items<Value>(
        _ text: String, _ list: ListText<Value>, _ dialect: Dialect = .strict
    ) throws(ValueProblem) -> Value {
        let texts = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        let (value, problems) = list.read(texts, dialect)
        if let problem = problems.first {
            throw ValueProblem(
                "has \"\(texts[problem.index ?? 0])\", which \(problem.problem)",
                allowed: problem.allowed)
        }
        return value
    }
}
