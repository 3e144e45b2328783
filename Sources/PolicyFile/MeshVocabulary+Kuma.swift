// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

extension MeshVocabulary {
    static let kuma = MeshVocabulary(
        keys: [
            "traffic.kuma.io/exclude-inbound-ports": .field("inbound.exclude.ports"),
            "traffic.kuma.io/exclude-outbound-ports": .field("outbound.exclude.ports"),
            "traffic.kuma.io/exclude-inbound-ips": .field("inbound.exclude.sources"),
            "traffic.kuma.io/exclude-outbound-ips": .field("outbound.exclude.cidrs"),
            "traffic.kuma.io/exclude-outbound-ports-for-uids": .custom(readPortsForUsers),
            "traffic.kuma.io/drop-invalid-packets": .refused(
                "asks for packets without a connection to be dropped, which is not done here",
                unless: off),
            "traffic.kuma.io/iptables-logs": .refused(
                "asks for a log of packets, which is not kept here", unless: off),
            "traffic.kuma.io/transparent-proxy-config": .refused(
                "is a configuration of Kuma's own; say the same in annotations"),
            "traffic.kuma.io/transparent-proxy-configmap-name": .refused(
                "names a configuration of Kuma's own; say the same in annotations"),
            // Off is off, whatever is said of the way it is done.
            "kuma.io/transparent-proxying": switching { policy, isOn in
                if !isOn { policy.mode = PolicyMode.none }
            },
            "kuma.io/transparent-proxying-inbound-port": .field("sidecar.inboundPort"),
            "kuma.io/transparent-proxying-outbound-port": .field("sidecar.outboundPort"),
            "kuma.io/transparent-proxying-inbound-v6-port": .custom(checkIPv6Port),
            "kuma.io/transparent-proxying-ip-family-mode": .custom { text, policy in
                switch text {
                case "dualstack": policy.families[.ipv6] = .managed
                case "ipv4": policy.families[.ipv6] = .pass
                case "ipv6": policy.families.merge([.ipv4: .pass, .ipv6: .managed]) { $1 }
                default: return [ValueProblem("is not a mode", allowed: "dualstack, ipv4, ipv6")]
                }
                return []
            },
            // Not by Kuma's own eBPF is not to say by what.
            "kuma.io/transparent-proxying-ebpf": switching { policy, isOn in
                if isOn, policy.mode != PolicyMode.none { policy.mode = .ebpf }
            },
            "kuma.io/builtin-dns": switching { policy, isOn in
                policy.dns.capture = isOn ? .all : .off
            },
            "kuma.io/builtin-dns-port": .field("sidecar.dnsPort"),
            "kuma.io/sidecar-uid": .field("sidecar.uids"),
            // Probed from outside the mesh, so never redirected; 0 turns it off.
            "kuma.io/application-probe-proxy-port": .custom { text, policy in
                text == "0" ? [] : ValueText.put(text, "inbound.exclude.ports", &policy)
            },
        ], closedPrefixes: ["traffic.kuma.io/"])

    /// The injector writes this port on every pod: its own default, or the one for both families.
    ///
    /// Keys are read in their order, so that the inbound port is known.
    private static let checkIPv6Port: @Sendable (String, inout Policy) -> [ValueProblem] = {
        text, policy in
        do throws(ValueProblem) {
            let inbound = policy.sidecar.inboundPort ?? Preset.kuma.sidecar.inboundPort
            guard [inbound, 15010].contains(try ValueText.port(text)) else {
                throw ValueProblem(
                    "is a port of its own for IPv6, which there is not here",
                    allowed: "\(inbound) or 15010")
            }
            return []
        } catch {
            return [error]
        }
    }

    private static let on: Set = ["enabled", "true", "yes"]
    private static let off: Set = ["disabled", "false", "no"]

    private static func switching(
        _ turn: @escaping @Sendable (inout Policy, Bool) -> Void
    ) -> Meaning {
        .custom { text, policy in
            guard on.contains(text) || off.contains(text) else {
                return [ValueProblem("is neither on nor off", allowed: "enabled, disabled")]
            }
            turn(&policy, on.contains(text))
            return []
        }
    }

    /// `PROTOCOLS:PORTS:USERS`, `PORTS:USERS` or `USERS`, several by semicolons.
    private static let readPortsForUsers: @Sendable (String, inout Policy) -> [ValueProblem] = {
        text, policy in
        var known = Set(policy.outbound.excludedPortsByUser)
        let records = text.isEmpty ? [] : text.items(separatedBy: ";")
        let problems = records.problems { (record) throws(ValueProblem) in
            let exclusion = try portsForUsers(record)
            if known.insert(exclusion).inserted {
                policy.outbound.excludedPortsByUser.append(exclusion)
            }
        }
        return problems.map { $0.whole(of: records) }
    }

    private static func portsForUsers(_ text: String) throws(ValueProblem) -> OwnerPortExclusion {
        let parts = text.items(separatedBy: ":")
        guard let users = parts.last, parts.count <= 3 else {
            throw ValueProblem(
                "is not users, or ports and users", allowed: "tcp:80,443:1000-2000, 53:1000, 1000")
        }
        let ports = parts.count > 1 ? parts[parts.count - 2] : "*"
        let protocols = parts.count > 2 ? parts[0] : "*"
        var named = Set(TransportProtocol.allCases)
        if !["*", ""].contains(protocols) {
            named = try list(
                protocols,
                .set({ (text, _) throws(ValueProblem) in try ValueText.choice(text) }, \.rawValue))
        }
        return OwnerPortExclusion(
            uids: try list(users, .ranges(ValueText.idRange)),
            ports: ["*", ""].contains(ports)
                ? PortSet([1...65535]) : try list(ports, .ranges(ValueText.portRange)),
            protocols: named)
    }

    private static func list<Value>(
        _ text: String, _ items: ListText<Value>
    ) throws(ValueProblem) -> Value {
        let texts = text.items(separatedBy: ",")
        let (value, problems) = items.read(texts, .mesh)
        if let problem = problems.first { throw problem.whole(of: texts) }
        return value
    }
}
