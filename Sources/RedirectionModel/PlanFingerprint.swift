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
            ("sidecar-uids", list(sidecar.uids)),
            ("sidecar-gids", list(sidecar.gids)),
            ("outbound-port", "\(sidecar.outboundPort)"),
            ("inbound-port", "\(sidecar.inboundPort)"),
            ("sidecar-ports", "\(sidecar.ownPorts)"),
            ("ipv4", policy(for: .ipv4).rawValue),
            ("ipv6", policy(for: .ipv6).rawValue),
            ("own-addresses", list(ownAddresses)),
            ("excluded-uids", list(excludedUIDs)),
            ("excluded-gids", list(excludedGIDs)),
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

    private func list<Element: Comparable>(_ set: Set<Element>) -> String {
        set.sorted().map { "\($0)" }.joined(separator: ",")
    }
}
