// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Synchronization
import Testing

/// What is ours is found without a memory of it, and goes; what is not stays.
@Suite(.requiresKernel, .timeLimit(.minutes(1))) struct SweeperTests {
    @Test(arguments: BackendUnderTest.all, ["whole", "in part", "none"])
    func `what is left of a plan is found and removed, and nothing of others`(
        _ subject: BackendUnderTest, _ state: String
    ) async throws {
        try await subject.run { backend, workload in
            let lock = TemporaryFile()
            let sweeper = IPTablesSweeper(subject.flavor, lockFile: lock.path)
            try ForeignRules.load(into: workload.namespace)
            let before = try StockTool.Snapshot(of: workload.namespace)
            let routes = try Self.routing(workload.namespace)
            var plan = Preset.fsm.plan(ownAddresses: GoldenPlan.own)
            plan.inboundMode = .transparent(mark: 1337, table: 133)
            if state != "none" { try await backend.apply(plan, to: workload) }
            if state == "in part" { try Self.breakUp(workload.namespace, subject.flavor) }

            let remains = try await sweeper.remains(in: workload.namespace, named: "pod-7")
            #expect(remains.isEmpty == (state == "none"), "\(remains)")
            #expect(remains.allSatisfy { $0.place == "pod-7" })
            if state != "none" { #expect(Set(remains.map(\.part)) == [.rules, .routing]) }
            try await sweeper.sweep(workload.namespace, named: "pod-7")

            #expect(try await sweeper.remains(in: workload.namespace, named: "pod-7").isEmpty)
            #expect(try StockTool.Snapshot(of: workload.namespace) == before)
            #expect(try Self.routing(workload.namespace) == routes)
        }
    }

    /// As a crash or a stranger may leave it.
    private static func breakUp(
        _ namespace: NetworkNamespace, _ flavor: IPTablesBackend.Flavor
    ) throws {
        let commands =
            switch flavor {
            case .nft: ["nft flush chain inet swerve plan", "nft flush chain inet swerve output"]
            case .legacy:
                ["iptables-legacy -t nat -D OUTPUT 1", "iptables-legacy -t nat -F SWERVE_PLAN"]
            }
        for command in commands + ["ip rule del fwmark 1337", "ip -6 route flush table 133"] {
            let result = try StockTool.run("sh", "-c", command, in: namespace)
            #expect(result == StockTool.Result(status: 0, output: ""))
        }
    }

    private static func routing(_ namespace: NetworkNamespace) throws -> [String] {
        try [["ip", "rule"], ["ip", "-6", "rule"], ["ip", "route", "show", "table", "all"]].map {
            try StockTool.run($0, in: namespace).output
        }
    }

    @Test(arguments: BackendUnderTest.all)
    func `every change is announced before it is made`(_ subject: BackendUnderTest) async throws {
        try await subject.run { backend, workload in
            let changes = Mutex<[KernelChange]>([])
            let log = ChangeLog { change in changes.withLock { $0.append(change) } }
            var plan = Preset.fsm.plan(ownAddresses: GoldenPlan.own)
            plan.inboundMode = .transparent(mark: 1337, table: 133)
            let changed = plan
            try await log.listening { () throws(RedirectionError) in
                try await backend.apply(changed, to: workload)
            }
            let applied = changes.withLock { $0 }
            #expect(Set(applied.map(\.part)) == [.rules, .routing])
            // Two rules, two routes, the sysctl; then a transaction, or a table at a time.
            #expect(applied.filter { $0.part == .routing }.count == 5, "\(applied)")
            let tables = RuleSet(changed).legacyTables().count
            let wanted = subject.flavor == .nft ? 1 : tables
            #expect(applied.filter { $0.part == .rules }.count == wanted, "\(applied)")

            try await log.listening { () throws(RedirectionError) in
                try await backend.remove(from: workload)
            }
            let removed = changes.withLock { $0.dropFirst(applied.count) }
            #expect(removed.filter { $0.part == .routing }.count == 5, "\(removed)")
            #expect(removed.contains { $0.part == .rules })
        }
    }
}
