// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

extension MeshVocabulary {
    private static let prefix = "consul.hashicorp.com/"

    static let consul = MeshVocabulary(
        keys: [
            prefix + "transparent-proxy": .custom { text, policy in
                switching(text) { if !$0 { policy.mode = PolicyMode.none } }
            },
            prefix + "dual-stack": .custom { text, policy in
                switching(text) { policy.families[.ipv6] = $0 ? .managed : .pass }
            },
            prefix + "transparent-proxy-exclude-inbound-ports": .field("inbound.exclude.ports"),
            prefix + "transparent-proxy-exclude-outbound-ports": .field("outbound.exclude.ports"),
            prefix + "transparent-proxy-exclude-outbound-cidrs": .field("outbound.exclude.cidrs"),
            prefix + "transparent-proxy-exclude-uids": .field("outbound.exclude.uids"),
            prefix + "redirect-traffic-config": .custom(readRedirectConfig),
        ])

    private static func switching(_ text: String, _ turn: (Bool) -> Void) -> [ValueProblem] {
        do throws(ValueProblem) {
            turn(try ValueText.boolean(text))
            return []
        } catch {
            return [error]
        }
    }

    /// The keys of the JSON that Consul's own plugin is given, and the fields they stand for.
    private static let redirectKeys: [String: String] = [
        "ProxyUserID": "sidecar.uids",
        "ProxyInboundPort": "sidecar.inboundPort",
        "ProxyOutboundPort": "sidecar.outboundPort",
        "ExcludeInboundPorts": "inbound.exclude.ports",
        "ExcludeOutboundPorts": "outbound.exclude.ports",
        "ExcludeOutboundCIDRs": "outbound.exclude.cidrs",
        "ExcludeUIDs": "outbound.exclude.uids",
        "ConsulDNSIP": "dns.capture",
        "ConsulDNSPort": "sidecar.dnsPort",
    ]

    /// Which rules, and into what namespace: not the policy's affair.
    private static let ignoredKeys: Set = ["NetNS", "IptablesProvider"]

    /// JSON is read as the YAML it also is.
    private static let readRedirectConfig: @Sendable (String, inout Policy) -> [ValueProblem] = {
        text, policy in
        guard text.trimmed.hasPrefix("{") else {
            return [ValueProblem("is not a JSON object")]
        }
        let document: Element?
        do throws(SyntaxProblem) {
            document = try Element(yaml: Array(text.utf8))
        } catch {
            return [ValueProblem("is not JSON: \(error.problem)")]
        }
        guard case .mapping(let entries) = document?.content else {
            return [ValueProblem("is not a JSON object")]
        }
        return entries.flatMap { entry in read(entry, into: &policy) }
    }

    private static func read(_ entry: Element.Entry, into policy: inout Policy) -> [ValueProblem] {
        guard let path = redirectKeys[entry.key] else {
            if ignoredKeys.contains(entry.key) { return [] }
            let hint = nearest(entry.key, among: redirectKeys.keys.sorted())
            return [
                ValueProblem(
                    "has an unknown key \(entry.key)"
                        + (hint.map { "; did you mean \($0)?" } ?? ""),
                    allowed: redirectKeys.keys.sorted().joined(separator: ", "))
            ]
        }
        guard let field = PolicyField.byPath[path], let texts = texts(of: entry.value) else {
            return [ValueProblem("has \(entry.value.kind) at \(entry.key)")]
        }
        // Go writes what was not set as null, "", 0 or [].
        if texts.isEmpty || texts == [""] || texts == ["0"] && path != "outbound.exclude.uids" {
            return []
        }
        if path == "dns.capture", let problem = problem(withResolver: texts) { return [problem] }
        let text: FieldText = field.shape == .value ? .value(texts[0]) : .list(texts)
        return field.read(text, .mesh, &policy).map { $0.whole(of: texts, at: entry.key) }
    }

    private static func texts(of element: Element) -> [String]? {
        switch element.content {
        case .text(let text, let isQuoted): isQuoted || element.text != nil ? [text] : []
        case .list(let items):
            items.reduce(into: [] as [String]?) { texts, item in
                guard let text = item.text else { return texts = nil }
                texts?.append(text)
            }
        case .mapping: nil
        }
    }

    /// Consul sends queries for a resolver on to another port of the same address; a sidecar only
    /// answers on loopback.
    private static func problem(withResolver texts: [String]) -> ValueProblem? {
        guard texts.count == 1, let address = IPAddress(texts[0]) else {
            return ValueProblem("has no address at ConsulDNSIP")
        }
        return address.isLoopback
            ? nil
            : ValueProblem(
                "has \(address) at ConsulDNSIP, and only the sidecar itself can be asked",
                allowed: "an address of loopback")
    }
}
