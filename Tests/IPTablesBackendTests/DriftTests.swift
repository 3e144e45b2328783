// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// What somebody does to rules and routing behind our back is found, named, and repaired.
@Suite(.requiresKernel, .timeLimit(.minutes(1))) struct DriftTests {
    /// A deed, and what drift says of it.
    struct Damage: Sendable, CustomTestStringConvertible {
        let flavor: IPTablesBackend.Flavor
        let command: String
        let kind: Drift.Kind
        let part: KernelPart
        /// Words of the finding, in their order.
        let words: [String]
        /// Whether it is ours to repair: what others put before us is not.
        var isRepaired = true

        var testDescription: String { "\(flavor): \(command)" }
    }

    static let damages: [Damage] = [
        Damage(
            flavor: .nft, command: "nft flush ruleset", kind: .missing, part: .rules,
            words: ["table inet swerve is gone"]),
        Damage(
            flavor: .nft, command: "nft flush chain inet swerve output", kind: .missing,
            part: .rules, words: ["rule 1 of chain output of table inet swerve is gone"]),
        Damage(
            flavor: .nft, command: "nft insert rule inet swerve outbound accept", kind: .changed,
            part: .rules, words: ["rule 1 of chain outbound", "is not of the plan"]),
        Damage(
            flavor: .nft,
            command: """
                h=$(nft -a list chain inet swerve sidecar | sed -n 's/.*# handle //p' | tail -1); \
                nft insert rule inet swerve sidecar counter return comment sidecar; \
                nft delete rule inet swerve sidecar handle $h
                """, kind: .changed, part: .rules,
            words: ["rule 1 of chain sidecar", "is out of order"]),
        Damage(
            flavor: .legacy,
            command: """
                r=$(iptables-legacy -t nat -S SWERVE_OUTBOUND | sed -n 2p); \
                iptables-legacy -t nat -D SWERVE_OUTBOUND 1; eval iptables-legacy -t nat $r
                """, kind: .changed, part: .rules,
            words: ["rule 1 of chain SWERVE_OUTBOUND of ipv4 nat", "is out of order"]),
        Damage(
            flavor: .nft, command: "nft add chain inet swerve extra", kind: .changed, part: .rules,
            words: ["chain extra of table inet swerve is not of the plan"]),
        Damage(
            flavor: .nft,
            command: """
                nft 'add table ip other; \
                add chain ip other early { type nat hook output priority -110; }; \
                add rule ip other early tcp dport 80 dnat to 192.0.2.1'
                """, kind: .preempted, part: .rules,
            words: ["chain early of table ip other", "-110", "output", "dnat"], isRepaired: false),
        Damage(
            flavor: .nft,
            command: """
                nft 'add table inet other; \
                add chain inet other raw { type filter hook prerouting priority -300; }; \
                add rule inet other raw tcp dport 80 notrack'
                """, kind: .preempted, part: .rules,
            words: ["chain raw of table inet other", "notrack"],
            isRepaired: false),
        Damage(
            flavor: .legacy, command: "iptables-legacy -t nat -I OUTPUT -j ACCEPT",
            kind: .preempted, part: .rules,
            words: ["rule 1 of chain OUTPUT of ipv4 nat stands before ours: -j ACCEPT"]),
        Damage(
            flavor: .legacy, command: "ip6tables-legacy -t nat -F", kind: .missing, part: .rules,
            words: ["chain", "of ipv6 nat is gone"]),
        Damage(
            flavor: .legacy, command: "iptables-legacy -t nat -D SWERVE_OUTBOUND 1",
            kind: .missing, part: .rules,
            words: ["rule 1 of chain SWERVE_OUTBOUND of ipv4 nat is gone"]),
        Damage(
            flavor: .legacy,
            command: """
                nft 'add table ip other; \
                add chain ip other early { type nat hook output priority -100; }; \
                add rule ip other early tcp dport 80 redirect to :81'
                """, kind: .preempted, part: .rules,
            words: ["chain early of table ip other", "redirect"],
            isRepaired: false),
        Damage(
            flavor: .nft, command: "ip rule del fwmark 0x539", kind: .missing, part: .routing,
            words: ["ipv4 rule fwmark 1337 lookup 133 is gone"]),
        Damage(
            flavor: .legacy, command: "ip -6 route flush table 133", kind: .missing,
            part: .routing, words: ["ipv6 route local default dev lo table 133 is gone"]),
        Damage(
            flavor: .nft, command: "echo 0 > /proc/sys/net/ipv4/tcp_fwmark_accept",
            kind: .missing, part: .routing, words: ["tcp_fwmark_accept"]),
    ]

    @Test(arguments: damages)
    func `damage is found, and repaired by applying the plan again`(_ damage: Damage) async throws {
        try await BackendUnderTest(flavor: damage.flavor).run { backend, workload in
            var plan = Preset.fsm.plan(ownAddresses: GoldenPlan.own)
            if damage.part == .routing {
                plan.inboundMode = .transparent(mark: 1337, table: 133)
            }
            try await backend.apply(plan, to: workload)
            #expect(try await backend.drift(from: plan, in: workload).isEmpty)
            let result = try StockTool.run("sh", "-c", damage.command, in: workload.namespace)
            #expect(result == StockTool.Result(status: 0, output: ""))

            let drift = try await backend.drift(from: plan, in: workload)
            let finding = drift.first { $0.kind == damage.kind && $0.part == damage.part }
            var rest = (finding?.detail ?? "")[...]
            for word in damage.words {
                let place = rest.firstRange(of: word)
                #expect(place != nil, "\(drift)")
                if let place { rest = rest[place.upperBound...] }
            }
            #expect(finding != nil, "\(drift)")

            try await backend.apply(plan, to: workload)
            let repaired = try await backend.drift(from: plan, in: workload)
            #expect(repaired.isEmpty == damage.isRepaired, "\(repaired)")
            #expect(repaired.allSatisfy { $0.kind == .preempted })
        }
    }

    @Test(arguments: GoldenPlan.all, [IPTablesBackend.Flavor.nft, .legacy])
    func `what has just been applied has not drifted`(
        _ golden: GoldenPlan, _ flavor: IPTablesBackend.Flavor
    ) async throws {
        try await BackendUnderTest(flavor: flavor).run { backend, workload in
            let absent = try await backend.drift(from: golden.plan, in: workload)
            #expect(absent.contains { $0.kind == .missing } == golden.plan.isEnabled)
            try await backend.apply(golden.plan, to: workload)
            #expect(try await backend.drift(from: golden.plan, in: workload).isEmpty)
            var other = golden.plan
            other.isEnabled = false
            #expect(
                try await backend.drift(from: other, in: workload).contains {
                    $0.kind == .changed && $0.part == .rules
                } == golden.plan.isEnabled)
        }
    }

    /// Docker's and kube-proxy's rules come after ours, but for a younger chain of nf_tables at the
    /// very priority of the legacy table: that one is before it, and said to be.
    @Test(arguments: BackendUnderTest.all)
    func `rules of others are drift only where they come first`(
        _ subject: BackendUnderTest
    ) async throws {
        try await subject.run { backend, workload in
            try ForeignRules.load(into: workload.namespace)
            let plan = Preset.fsm.plan(ownAddresses: GoldenPlan.own)
            try await backend.apply(plan, to: workload)
            let drift = try await backend.drift(from: plan, in: workload)
            #expect(drift.isEmpty == (subject.flavor == .nft), "\(drift)")
            #expect(drift.allSatisfy { $0.kind == .preempted && $0.detail.contains("-100") })
        }
    }
}
