// SPDX-License-Identifier: Apache-2.0

/// A plan's identity: what a backend leaves in the kernel to say which plan is installed there.
package struct PlanFingerprint: Hashable, Sendable {
    package let value: UInt64

    package init(value: UInt64) { self.value = value }
}

extension PlanFingerprint: LosslessStringConvertible {
    /// Sixteen hexadecimal digits.
    package var description: String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// Reads the form `description` writes.
    package init?(_ text: String) {
        guard text.count == 16, let value = UInt64(text, radix: 16) else { return nil }
        self.value = value
    }
}

extension RedirectionPlan {
    /// Equal for equal plans, in every process and on every machine.
    package var fingerprint: PlanFingerprint {
        // FNV-1a, 64 bits: Swift's own hashes differ from one process to the next.
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in canonicalText.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return PlanFingerprint(value: hash)
    }

    /// The plan as text, a fact a line, in an order that depends on nothing else.
    package var canonicalText: String {
        let facts: [(String, String)] = [
            ("enabled", "\(isEnabled)"),
            ("sidecar-uids", "\(sidecar.uids)"),
            ("sidecar-gids", "\(sidecar.gids)"),
            ("outbound-port", "\(sidecar.outboundPort)"),
            ("inbound-port", "\(sidecar.inboundPort)"),
            ("sidecar-ports", "\(sidecar.ownPorts)"),
            ("self-calls", "\(sidecar.redirectsSelfCalls)"),
            ("tunnel-ports", "\(sidecar.tunnelPorts)"),
            ("passthrough-sources", list(sidecar.passthroughSources)),
            ("ipv4", policy(for: .ipv4).rawValue),
            ("ipv6", policy(for: .ipv6).rawValue),
            ("own-addresses", list(ownAddresses)),
            ("own-addresses-pass", "\(passesOwnAddresses)"),
            ("dns", text(of: dns)),
            ("inbound-mode", text(of: inboundMode)),
            ("owner-ports", lines(ownerPortExclusions.map(text))),
            ("virtual-interfaces", lines(virtualInterfaces.map(text))),
            ("excluded-uids", "\(excludedUIDs)"),
            ("excluded-gids", "\(excludedGIDs)"),
        ]
        return (facts + text(of: outbound, "outbound") + text(of: inbound, "inbound"))
            .map { "\($0.0): \($0.1)\n" }.joined()
    }

    private func text(of selection: Selection, _ name: String) -> [(String, String)] {
        [
            ("\(name)-excluded-ports", "\(selection.excludedPorts)"),
            ("\(name)-excluded-networks", list(selection.excludedNetworks)),
            ("\(name)-excluded-interfaces", list(selection.excludedInterfaces)),
            ("\(name)-included-ports", selection.includedPorts.map { "[\($0)]" } ?? "any"),
            (
                "\(name)-included-networks",
                selection.includedNetworks.map { "[\(list($0))]" } ?? "any"
            ),
            ("\(name)-combination", selection.combination.rawValue),
        ]
    }

    private func text(of dns: DNSCapture?) -> String {
        guard let dns else { return "off" }
        let servers = dns.servers.map { "[\(list($0))]" } ?? "any"
        return "\(text(of: dns.protocols)) of \(servers) to \(dns.port)"
    }

    private func text(of mode: InboundMode) -> String {
        switch mode {
        case .redirect: "redirect"
        case .transparent(let mark, let table): "transparent \(mark) \(table)"
        }
    }

    private func text(of exclusion: OwnerPortExclusion) -> String {
        "\(text(of: exclusion.protocols)) \(exclusion.ports) of \(exclusion.uids)"
    }

    private func text(of virtual: VirtualInterface) -> String {
        "\(virtual.interface) but [\(list(virtual.localNetworks))]"
    }

    private func text(of protocols: Set<TransportProtocol>) -> String {
        protocols.map(\.rawValue).sorted().joined(separator: "+")
    }

    private func lines(_ items: [String]) -> String { items.sorted().joined(separator: "; ") }

    private func list<Element: Comparable>(_ set: Set<Element>) -> String {
        set.sorted().map { "\($0)" }.joined(separator: ",")
    }
}
