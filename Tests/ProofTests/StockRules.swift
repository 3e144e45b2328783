// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel

/// A plan's rules as the golden files have them, loaded by the operator's own tools.
///
/// What is there is read, and taken away, by the backend whose text it is.
struct StockRules: RedirectionBackend {
    private let flavor: IPTablesBackend.Flavor
    private let backend: IPTablesBackend

    var mechanism: Mechanism { backend.mechanism }

    init(_ flavor: IPTablesBackend.Flavor) {
        self.flavor = flavor
        backend = IPTablesBackend(flavor)
    }

    func apply(_ plan: RedirectionPlan, to workload: Workload) async throws(RedirectionError) {
        try workload.refuseOwnNamespace()
        guard plan.isEnabled else { return }
        let rules = RuleSet(plan)
        do {
            for words in try routing(of: plan) { try run("sh", "-c", words, in: workload) }
            switch flavor {
            case .nft: try run("nft", "-f", "-", input: rules.nftText, in: workload)
            case .legacy:
                try run(
                    "iptables-legacy-restore", "-w", "10", input: rules.legacyText(.ipv4),
                    in: workload)
                try run(
                    "ip6tables-legacy-restore", "-w", "10", input: rules.legacyText(.ipv6),
                    in: workload)
            }
        } catch {
            throw .limit("\(error)")
        }
    }

    /// What must stand beside the rules, as `swerve plan` prints it; for ip(8), of both families.
    private func routing(of plan: RedirectionPlan) throws(RedirectionError) -> [String] {
        try IPTablesInspector(flavor).render(plan).sections.filter { $0.title == "routing" }
            .flatMap(\.lines)
            .flatMap { $0.hasPrefix("ip ") ? [$0, "ip -6" + $0.dropFirst(2)] : [$0] }
    }

    private func run(
        _ words: String..., input: String = "", in workload: Workload
    ) throws {
        let result = try StockTool.run(words, input: input, in: workload.namespace)
        guard result.status == 0 else { throw Refusal(words: words, output: result.output) }
    }

    /// What a tool said instead of doing it.
    private struct Refusal: Error, CustomStringConvertible {
        let words: [String]
        let output: String

        var description: String { "\(words.joined(separator: " ")): \(output)" }
    }

    func remove(from workload: Workload) async throws(RedirectionError) {
        try await backend.remove(from: workload)
    }

    func installed(
        in workload: Workload
    ) async throws(RedirectionError) -> PlanFingerprint? {
        try await backend.installed(in: workload)
    }

    func counters(in workload: Workload) async throws(RedirectionError) -> ReasonCounters {
        try await backend.counters(in: workload)
    }
}
