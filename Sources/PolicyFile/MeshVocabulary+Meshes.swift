// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

extension MeshVocabulary {
    private static let everyPort = "1-65535"
    private static let everyNetwork = "0.0.0.0/0,::/0"

    /// FSM and OSM differ in the prefix alone.
    static func flomesh(prefix: String) -> MeshVocabulary {
        let keys: [String: Meaning] = [
            "outbound-port-exclusion-list": .field("outbound.exclude.ports"),
            "inbound-port-exclusion-list": .field("inbound.exclude.ports"),
            "outbound-port-inclusion-list": .field("outbound.include.ports"),
            "inbound-port-inclusion-list": .field("inbound.include.ports"),
            "outbound-ip-range-exclusion-list": .field("outbound.exclude.cidrs"),
            "outbound-ip-range-inclusion-list": .field("outbound.include.cidrs"),
            // The status port: probed from outside, so never redirected.
            "port": .field("inbound.exclude.ports"),
        ]
        return MeshVocabulary(
            keys: Dictionary(uniqueKeysWithValues: keys.map { (prefix + $0, $1) }))
    }

    static let istio = MeshVocabulary(
        keys: [
            "sidecar.istio.io/interceptionMode": .custom { text, policy in
                switch text {
                case "REDIRECT": policy.inbound.style = .redirect
                case "TPROXY": policy.inbound.style = .transparent
                case "NONE": policy.mode = PolicyMode.none
                default:
                    return [
                        ValueProblem("is not a mode", allowed: "REDIRECT, TPROXY, NONE")
                    ]
                }
                return []
            },
            "status.sidecar.istio.io/port": .custom { text, policy in
                // 0 turns the status port off.
                text == "0" ? [] : ValueText.put(text, "inbound.exclude.ports", &policy)
            },
            "traffic.sidecar.istio.io/includeOutboundIPRanges":
                .includes("outbound.include.cidrs", everything: everyNetwork),
            "traffic.sidecar.istio.io/excludeOutboundIPRanges": .field("outbound.exclude.cidrs"),
            "traffic.sidecar.istio.io/includeOutboundPorts":
                .includes("outbound.include.ports", everything: everyPort),
            "traffic.sidecar.istio.io/excludeOutboundPorts": .field("outbound.exclude.ports"),
            "traffic.sidecar.istio.io/includeInboundPorts": .custom(readInboundPorts),
            "traffic.sidecar.istio.io/excludeInboundPorts": .field("inbound.exclude.ports"),
            "traffic.sidecar.istio.io/excludeInterfaces": .custom { text, policy in
                ValueText.put(text, "outbound.exclude.interfaces", &policy)
                    + ValueText.put(text, "inbound.exclude.interfaces", &policy, quietly: true)
            },
            "traffic.sidecar.istio.io/kubevirtInterfaces": .custom(readVirtualInterfaces),
            "istio.io/reroute-virtual-interfaces": .custom(readVirtualInterfaces),
            "proxy.istio.io/config": .mentions([
                // Istio takes the lookups of the resolvers in the pod's resolv.conf, which only the
                // pod knows.
                Mention(
                    "ISTIO_META_DNS_CAPTURE", with: "true", saidAt: "dns.capture",
                    "turns ISTIO_META_DNS_CAPTURE on, which does not say whose lookups; "
                        + "say swerve.dev/dns-capture"),
                Mention(
                    "interceptionMode", saidAt: "inbound.mode",
                    "has an interceptionMode, which is not read there; say swerve.dev/inbound-mode"
                ),
                Mention(
                    "statusPort", saidAt: "inbound.exclude.ports",
                    "has a statusPort, which is not read there; say swerve.dev/exclude-inbound-ports"
                ),
            ]),
        ], closedPrefixes: ["traffic.sidecar.istio.io/"])

    /// Istio asks its inbound exclusions only where everything else is taken: `*`.
    ///
    /// Keys are read in their order, so that excludeInboundPorts and the status port are known, and
    /// the exclusions of other layers are not among them yet.
    private static let readInboundPorts: @Sendable (String, inout Policy) -> [ValueProblem] = {
        text, policy in
        guard text != "*" else {
            return ValueText.put(everyPort, "inbound.include.ports", &policy)
        }
        policy.inbound.excludedPorts = []
        return ValueText.put(text, "inbound.include.ports", &policy)
    }

    /// Names alone, separated by commas; on both annotations of Istio they add up.
    private static let readVirtualInterfaces: @Sendable (String, inout Policy) -> [ValueProblem] = {
        text, policy in
        let before = policy.virtualInterfaces ?? []
        let names = text.isEmpty ? [] : text.items(separatedBy: ",")
        var read: Set<VirtualInterface> = []
        let problems = names.problems { (name) throws(ValueProblem) in
            read.insert(VirtualInterface(try ValueText.virtualInterface(name)))
        }
        policy.virtualInterfaces = before.union(read)
        return problems.map { $0.whole(of: names) }
    }

    static let linkerd = MeshVocabulary(
        keys: [
            "config.linkerd.io/skip-inbound-ports": .field("inbound.exclude.ports"),
            "config.linkerd.io/skip-outbound-ports": .field("outbound.exclude.ports"),
            "config.linkerd.io/skip-subnets": .field("inbound.exclude.sources"),
            "config.linkerd.io/proxy-uid": .field("sidecar.uids"),
            "config.linkerd.io/proxy-gid": .field("sidecar.gids"),
            "config.linkerd.io/inbound-port": .field("sidecar.inboundPort"),
            "config.linkerd.io/outbound-port": .field("sidecar.outboundPort"),
            "config.linkerd.io/admin-port": .field("sidecar.adminPort"),
            "config.linkerd.io/control-port": .field("sidecar.controlPort"),
        ], appliesToNamespaces: true)
}
