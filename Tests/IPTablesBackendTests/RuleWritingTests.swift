// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import NFTables
import RedirectionEngine
import RedirectionModel
import SystemPackage
import Testing

/// What the writers leave in the kernel, seen by the stock tools.
@Suite(.requiresKernel, .timeLimit(.minutes(5))) struct RuleWritingTests {
    let plan = Preset.fsm.plan(ownAddresses: GoldenPlan.own)

    @Test(arguments: BackendUnderTest.all)
    func `applying twice is applying once`(_ subject: BackendUnderTest) async throws {
        try await subject.run { backend, workload in
            try await backend.apply(plan, to: workload)
            let once = try StockTool.Snapshot(of: workload.namespace)
            try await backend.apply(plan, to: workload)
            #expect(try StockTool.Snapshot(of: workload.namespace) == once)
        }
    }

    @Test(arguments: BackendUnderTest.all)
    func `whatever came before, a plan leaves the rules it leaves alone`(
        _ subject: BackendUnderTest
    ) async throws {
        try await subject.run { backend, workload in
            for golden in GoldenPlan.all + GoldenPlan.all.reversed() {
                try await backend.apply(golden.plan, to: workload)
                #expect(try await backend.installed(in: workload) == golden.plan.fingerprint)
                let replaced = try Rules(of: workload.namespace)
                try await subject.run { backend, fresh in
                    try await backend.apply(golden.plan, to: fresh)
                    #expect(try Rules(of: fresh.namespace) == replaced, "\(golden.name)")
                }
            }
        }
    }

    @Test(arguments: BackendUnderTest.all)
    func `the rules of others stay as they were, byte for byte`(
        _ subject: BackendUnderTest
    ) async throws {
        try await subject.run { backend, workload in
            try ForeignRules.load(into: workload.namespace)
            let before = try StockTool.Snapshot(of: workload.namespace)
            for golden in GoldenPlan.all {
                try await backend.apply(golden.plan, to: workload)
                try await backend.apply(golden.plan, to: workload)
                #expect(try StockTool.Snapshot(of: workload.namespace) != before)
                try await backend.remove(from: workload)
                #expect(try StockTool.Snapshot(of: workload.namespace) == before)
            }
        }
    }

    @Test(arguments: BackendUnderTest.all)
    func `removing what is not there succeeds and makes nothing`(
        _ subject: BackendUnderTest
    ) async throws {
        try await subject.run { backend, workload in
            let before = try StockTool.Snapshot(of: workload.namespace)
            try await backend.remove(from: workload)
            #expect(try await backend.installed(in: workload) == nil)
            #expect(try await backend.counters(in: workload) == ReasonCounters())
            #expect(try StockTool.Snapshot(of: workload.namespace) == before)
        }
    }

    @Test(arguments: BackendUnderTest.all)
    func `a plan that is off removes what was there`(_ subject: BackendUnderTest) async throws {
        var off = plan
        off.isEnabled = false
        try await subject.run { backend, workload in
            try ForeignRules.load(into: workload.namespace)
            let before = try StockTool.Snapshot(of: workload.namespace)
            try await backend.apply(plan, to: workload)
            try await backend.apply(off, to: workload)
            #expect(try StockTool.Snapshot(of: workload.namespace) == before)
            #expect(try await backend.installed(in: workload) == nil)
        }
    }

    @Test(arguments: BackendUnderTest.all)
    func `what rules cannot say is refused by name, and nothing changes`(
        _ subject: BackendUnderTest
    ) async throws {
        var nowhere = plan
        nowhere.sidecar.inboundPort = 0
        var lookups = plan
        lookups.dns = DNSCapture(port: 0)
        var nobody = plan
        nobody.excludedUIDs = IDSet([1000...UInt32.max])
        var unmarked = plan
        unmarked.inboundMode = .transparent(mark: 0, table: 133)
        var main = plan
        main.inboundMode = .transparent(mark: 1, table: 254)
        for refused in [nowhere, lookups, nobody, unmarked, main] {
            try await subject.run { backend, workload in
                try await backend.apply(plan, to: workload)
                let before = try StockTool.Snapshot(of: workload.namespace)
                let error = await #expect(throws: RedirectionError.self) {
                    try await backend.apply(refused, to: workload)
                }
                guard case .inexpressible(_, backend.mechanism) = error else {
                    Issue.record("\(String(describing: error))")
                    return
                }
                #expect(try StockTool.Snapshot(of: workload.namespace) == before)
            }
        }
    }

    @Test func `a legacy plan of which a table was lost is not installed`() async throws {
        try await BackendUnderTest(flavor: .legacy).run { backend, workload in
            try await backend.apply(plan, to: workload)
            for words in [["-F"], ["-X"]] {
                let result = try StockTool.run(
                    "ip6tables-legacy", "-t", "nat", words[0], in: workload.namespace)
                #expect(result.status == 0)
            }
            #expect(try await backend.installed(in: workload) == nil)
            try await backend.apply(plan, to: workload)
            #expect(try await backend.installed(in: workload) == plan.fingerprint)
        }
    }

    @Test func `the jump to legacy rules stands first, and gets there again`() async throws {
        try await BackendUnderTest(flavor: .legacy).run { backend, workload in
            func output() throws -> [String] {
                try StockTool.run(
                    "iptables-legacy", "-t", "nat", "-S", "OUTPUT", in: workload.namespace
                ).output.split(separator: "\n").map(String.init)
            }
            try ForeignRules.load(into: workload.namespace)
            try await backend.apply(plan, to: workload)
            let applied = try output()
            #expect(applied.dropFirst().first?.contains("-j SWERVE_OUTBOUND") == true)

            let intruder = "-I OUTPUT -d 192.0.2.1 -j ACCEPT".split(separator: " ").map(String.init)
            let result = try StockTool.run(
                "iptables-legacy", "-t", "nat", intruder[0], intruder[1], intruder[2],
                intruder[3], intruder[4], intruder[5], in: workload.namespace)
            #expect(result == StockTool.Result(status: 0, output: ""))
            #expect(try output().dropFirst().first?.contains("SWERVE") == false)
            try await backend.apply(plan, to: workload)
            #expect(try output().dropFirst().first?.contains("-j SWERVE_OUTBOUND") == true)
            #expect(try output().count == applied.count + 1)
        }
    }

    @Test func `a table that somebody removes meanwhile is written all the same`() async throws {
        try await BackendUnderTest(flavor: .nft).run { backend, workload in
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    while !Task.isCancelled {
                        try removeTable(in: workload.namespace)
                        try? await Task.sleep(for: .milliseconds(1))
                    }
                }
                for _ in 0..<300 { try await backend.apply(plan, to: workload) }
                group.cancelAll()
                try await group.waitForAll()
            }
            try await backend.apply(plan, to: workload)
            #expect(try await backend.installed(in: workload) == plan.fingerprint)
        }
    }

    /// Removes our table behind the backend's back, if it is there.
    private func removeTable(in namespace: NetworkNamespace) throws {
        var batch = NFTBatch(table: "swerve")
        batch.deleteTable()
        do throws(KernelError) {
            var connection = try NFTConnection.open(in: namespace)
            try connection.commit(batch.encode())
        } catch {
            guard error.errno == .noSuchFileOrDirectory else { throw error }
        }
    }

    @Test func `a lock that is held is waited for, but not for ever`() async throws {
        let lock = TemporaryFile()
        let held = try #require(try FileLock.tryTake(lock.path))
        let workload = Workload(id: "pod", namespace: try NetworkNamespace.create())
        let backend = IPTablesBackend(
            .legacy, lockFile: lock.path, patience: .milliseconds(100))
        let error = await #expect(throws: RedirectionError.self) {
            try await backend.apply(plan, to: workload)
        }
        guard case .kernel(let cause, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(cause.errno == .wouldBlock)
        withExtendedLifetime(held) {}
    }
}

/// A namespace's rules, in an order that does not tell which chain or table is older.
private struct Rules: Equatable {
    let ipv4: [String]
    let ipv6: [String]
    let nft: [String]

    init(of namespace: NetworkNamespace) throws {
        let snapshot = try StockTool.Snapshot(of: namespace)
        // A table we have emptied stays, with chains that have no rules.
        ipv4 = StockTool.tables(snapshot.ipv4).filter { $0.contains("-A ") }
        ipv6 = StockTool.tables(snapshot.ipv6).filter { $0.contains("-A ") }
        nft = snapshot.nft.split(separator: "\tchain ").map { StockTool.words(String($0)) }
            .map { $0.trimmingSuffix(" }") }.sorted()
    }
}

extension String {
    /// Without `suffix`, however often it stands at the end.
    fileprivate func trimmingSuffix(_ suffix: String) -> String {
        var text = self
        while text.hasSuffix(suffix) { text.removeLast(suffix.count) }
        return text
    }
}
