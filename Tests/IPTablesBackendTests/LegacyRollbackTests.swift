// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// Legacy tables change one by one; when one cannot, those before it are as they were.
@Suite(.requiresKernel, .timeLimit(.minutes(5))) struct LegacyRollbackTests {
    let plan = Preset.fsm.plan(ownAddresses: GoldenPlan.own)
    let subject = BackendUnderTest(flavor: .legacy)

    /// Every other plan there is, among them those that drop or pass a family, and none.
    private var others: [RedirectionPlan] {
        var off = plan
        off.isEnabled = false
        return GoldenPlan.all.map(\.plan).filter { $0 != plan } + [off]
    }

    @Test func `a plan that fails in the last table changes no other`() async throws {
        for other in others {
            try await subject.run { backend, workload in
                try ForeignRules.load(into: workload.namespace)
                try await backend.apply(plan, to: workload)
                try useOurChain("OUTBOUND", in: workload.namespace)
                try intrude(in: workload.namespace)
                let before = try State(of: workload.namespace)
                await #expect(throws: RedirectionError.self) {
                    try await backend.apply(other, to: workload)
                }
                #expect(try State(of: workload.namespace) == before)
                #expect(try await backend.installed(in: workload) == plan.fingerprint)
            }
        }
    }

    @Test func `a first plan that fails leaves nothing`() async throws {
        try await subject.run { backend, workload in
            try ForeignRules.load(into: workload.namespace)
            // A chain that says nothing, but that somebody uses.
            try run("-N", "SWERVE_OUTBOUND", in: workload.namespace)
            try useOurChain("OUTBOUND", in: workload.namespace)
            let before = try State(of: workload.namespace)
            await #expect(throws: RedirectionError.self) {
                try await backend.apply(plan, to: workload)
            }
            #expect(try State(of: workload.namespace) == before)
            #expect(try await backend.installed(in: workload) == nil)
        }
    }

    @Test func `what fails for somebody's use of a chain works again without it`() async throws {
        try await subject.run { backend, workload in
            try await backend.apply(plan, to: workload)
            try useOurChain("OUTBOUND", in: workload.namespace)
            await #expect(throws: RedirectionError.self) {
                try await backend.remove(from: workload)
            }
            #expect(try await backend.installed(in: workload) == plan.fingerprint)
            try run("-F", "OPERATOR", in: workload.namespace)
            try await backend.remove(from: workload)
            #expect(try await backend.installed(in: workload) == nil)
        }
    }

    /// Makes the IPv6 nat table, the last to be written, one that cannot be: a chain that
    /// somebody's rule jumps to cannot be deleted.
    private func useOurChain(_ chain: String, in namespace: NetworkNamespace) throws {
        try run("-N", "OPERATOR", in: namespace)
        try run("-A", "OPERATOR", "-j", "SWERVE_\(chain)", in: namespace)
    }

    /// Puts a rule before our jump, whose place must then be kept.
    private func intrude(in namespace: NetworkNamespace) throws {
        let result = try StockTool.run(
            "iptables-legacy", "-t", "nat", "-I", "OUTPUT", "-d", "192.0.2.1", "-j", "ACCEPT",
            in: namespace)
        #expect(result == StockTool.Result(status: 0, output: ""))
    }

    private func run(_ words: String..., in namespace: NetworkNamespace) throws {
        let input = (["*nat", words.joined(separator: " "), "COMMIT"]).joined(separator: "\n")
        let result = try StockTool.run(
            "ip6tables-legacy-restore", "--noflush", input: input + "\n", in: namespace)
        #expect(result == StockTool.Result(status: 0, output: ""))
    }
}

/// Every table of a namespace, its rules in order.
private struct State: Equatable {
    let ipv4: [String]
    let ipv6: [String]

    init(of namespace: NetworkNamespace) throws {
        let snapshot = try StockTool.Snapshot(of: namespace)
        ipv4 = StockTool.tables(snapshot.ipv4)
        ipv6 = StockTool.tables(snapshot.ipv6)
    }
}
