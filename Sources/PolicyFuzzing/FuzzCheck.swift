// SPDX-License-Identifier: Apache-2.0

package import PolicyFile
package import RedirectionModel

/// What must hold for every input whatsoever: a reader says no with reasons, or it read a policy
/// that makes sense.
package enum FuzzCheck {
    package enum Result: Hashable, Sendable {
        case refused
        case accepted
        /// What does not hold.
        case violated(String)
    }

    package static func check(file bytes: [UInt8]) -> Result {
        do throws(PolicyErrors) {
            let policy = try PolicyFile.parse(bytes, named: "fuzz")
            return check(policy) ?? check(numbersOf: policy, in: bytes) ?? .accepted
        } catch {
            return check(error)
        }
    }

    package static func check(
        annotations: [String: String], level: PolicyAnnotations.Level, preset: Preset.Name
    ) -> Result {
        do throws(PolicyErrors) {
            let policy = try PolicyAnnotations.parse(
                annotations, of: "fuzz", level: level, preset: preset)
            return check(policy) ?? .accepted
        } catch {
            return check(error)
        }
    }

    /// A refusal has a reason, on one line.
    private static func check(_ errors: PolicyErrors) -> Result {
        if errors.errors.isEmpty { return .violated("refused without a reason") }
        for error in errors.errors.map(\.description) {
            let isOneLine = error.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7f }
            guard isOneLine, error.utf8.count < 8192 else {
                return .violated("an error nobody can read: \(error)")
            }
        }
        return .refused
    }

    /// A policy can be written and read again, and resolves to a plan or to named conflicts.
    private static func check(_ policy: Policy) -> Result? {
        let text = PolicyFile.render(policy)
        do throws(PolicyErrors) {
            guard try PolicyFile.parse(Array(text.utf8), named: "rendered") == policy else {
                return .violated("reads back as another policy:\n\(text)")
            }
        } catch {
            return .violated("does not read back: \(error)\n\(text)")
        }
        do throws(PolicyConflicts) {
            let own: Set = [IPAddress(ipv4: 0x0a00_0002), .loopback(.ipv6)]
            return check(try policy.resolved(ownAddresses: own).plan)
        } catch {
            return error.conflicts.isEmpty ? .violated("conflicts without one") : nil
        }
    }

    private static func check(_ plan: RedirectionPlan) -> Result? {
        let sidecar = plan.sidecar
        let invariants: [(String, Bool)] = [
            ("a port is 0", sidecar.outboundPort != 0 && sidecar.inboundPort != 0),
            ("port 0 is in a list", !lists(of: plan).contains { $0.contains(0) }),
            ("nobody is the sidecar", !sidecar.uids.isEmpty || !sidecar.gids.isEmpty),
            ("loopback is an own address", plan.ownAddresses.allSatisfy { !$0.isLoopback }),
            ("nobody's id", !sidecar.uids.contains(.max) && !plan.excludedUIDs.contains(.max)),
            (
                "a DNS port that cannot be",
                plan.dns.map { ![0, sidecar.outboundPort, sidecar.inboundPort].contains($0.port) }
                    ?? true
            ),
            ("no protocol is captured", plan.dns.map { !$0.protocols.isEmpty } ?? true),
            ("no resolver is captured", plan.dns?.servers.map { !$0.isEmpty } ?? true),
            ("transparent by nothing", isPossible(plan.inboundMode)),
        ]
        return invariants.first { !$0.1 }.map { .violated($0.0) }
    }

    private static func isPossible(_ mode: InboundMode) -> Bool {
        guard case .transparent(let mark, let table) = mode else { return true }
        return mark != 0 && table != 0 && !(253...255).contains(table)
    }

    private static func lists(of plan: RedirectionPlan) -> [PortSet] {
        [
            plan.sidecar.ownPorts, plan.sidecar.tunnelPorts, plan.outbound.excludedPorts,
            plan.inbound.excludedPorts, plan.outbound.includedPorts ?? [],
            plan.inbound.includedPorts ?? [],
        ] + plan.ownerPortExclusions.map(\.ports)
    }

    /// No number is read that is not written: `080` as 80 or 64, `0x50` as 80, `1e3` as 1000.
    private static func check(numbersOf policy: Policy, in bytes: [UInt8]) -> Result? {
        // An escape in a quoted text writes digits in another way.
        guard !bytes.contains(UInt8(ascii: "\\")) else { return nil }
        let words = bytes.split { byte in
            !(48...57).contains(byte) && !(97...122).contains(byte) && !(65...90).contains(byte)
                && ![UInt8(ascii: "_"), UInt8(ascii: "+"), UInt8(ascii: ".")].contains(byte)
        }
        let written = Set(words.map { String(decoding: $0, as: UTF8.self) })
        // ::ffff:a00:1 is 10.0.0.1.
        let isMapped = written.contains { $0.lowercased() == "ffff" }
        let read = numbers(of: policy) + (isMapped ? [] : ipv4Addresses(of: policy))
        return read.first { !written.contains($0) }.map {
            .violated("\($0) is in the policy and not in the text")
        }
    }

    private static func numbers(of policy: Policy) -> [String] {
        let (sidecar, outbound, inbound) = (policy.sidecar, policy.outbound, policy.inbound)
        let byUser = outbound.excludedPortsByUser
        // An exclusion of 53 for one protocol may cut a range in two when it is written, not here.
        let ports: [PortSet?] =
            [
                sidecar.ports, sidecar.tunnelPorts, outbound.excludedPorts, outbound.includedPorts,
                inbound.excludedPorts, inbound.includedPorts,
            ] + byUser.map(\.ports)
        let ids: [IDSet?] =
            [sidecar.uids, sidecar.gids, outbound.excludedUIDs, outbound.excludedGIDs]
            + byUser.map(\.uids)
        let single = [
            sidecar.outboundPort, sidecar.inboundPort, sidecar.dnsPort, sidecar.adminPort,
            sidecar.controlPort,
        ]
        return ports.flatMap(ends) + ids.flatMap(ends)
            + single.compactMap(\.self).map { "\($0)" }
            + [inbound.mark, inbound.table].compactMap(\.self).map { "\($0)" }
            + networks(of: policy).filter { $0 != CIDR($0.network) }.map { "\($0.prefixLength)" }
    }

    /// They are written in one way, unlike IPv6 addresses, whose zeros may be left out.
    private static func ipv4Addresses(of policy: Policy) -> [String] {
        networks(of: policy).filter { $0.family == .ipv4 }.map { "\($0.network)" }
    }

    private static func ends<Bound>(of set: RangeSet<Bound>?) -> [String] {
        set?.ranges.flatMap { ["\($0.lowerBound)", "\($0.upperBound)"] } ?? []
    }

    private static func networks(of policy: Policy) -> [CIDR] {
        let sets = [
            policy.outbound.excludedNetworks, policy.outbound.includedNetworks,
            policy.inbound.excludedSources, policy.inbound.includedSources,
        ]
        return sets.compactMap(\.self).flatMap(\.self)
            + (policy.virtualInterfaces ?? []).flatMap(\.localNetworks)
    }
}
