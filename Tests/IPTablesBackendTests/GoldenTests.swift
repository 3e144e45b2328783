// SPDX-License-Identifier: Apache-2.0

import Foundation
import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// Rules as operators read them.
///
/// `SWERVE_UPDATE_GOLDEN=1 swift test --filter GoldenTests` writes the files anew; review the
/// difference like code.
@Suite struct GoldenTests {
    @Test(arguments: GoldenPlan.all)
    func `a plan's rules read as they were reviewed`(_ golden: GoldenPlan) throws {
        let texts = Texts(golden.plan)
        for (suffix, text) in [("v4", texts.ipv4), ("v6", texts.ipv6), ("nft", texts.nft)] {
            let file = "\(golden.name).\(suffix)"
            if ProcessInfo.processInfo.environment["SWERVE_UPDATE_GOLDEN"] != nil {
                let source = sources.appending(path: file)
                try text.write(to: source, atomically: true, encoding: .utf8)
            } else {
                let kept = bundled.appending(path: file)
                let reviewed = try String(contentsOf: kept, encoding: .utf8)
                #expect(text == reviewed, "\(file) differs")
            }
        }
    }

    private var sources: URL {
        URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden")
    }

    private var bundled: URL { Bundle.module.bundleURL.appending(path: "Golden") }
}

/// A plan's rules in the operator's three syntaxes.
struct Texts {
    let ipv4: String
    let ipv6: String
    let nft: String

    init(_ plan: RedirectionPlan) {
        let rules = RuleSet(plan)
        ipv4 = rules.legacyText(.ipv4)
        ipv6 = rules.legacyText(.ipv6)
        nft = rules.nftText
    }
}

/// The same texts, held against the kernel and the tools the operator has.
@Suite(.requiresKernel, .timeLimit(.minutes(5))) struct GoldenKernelTests {
    @Test(arguments: GoldenPlan.all)
    func `the stock tools accept a plan's rules`(_ golden: GoldenPlan) throws {
        let namespace = try NetworkNamespace.create()
        let texts = Texts(golden.plan)
        let ipv4 = try StockTool.run(
            "iptables-legacy-restore", "--test", input: texts.ipv4, in: namespace)
        let ipv6 = try StockTool.run(
            "ip6tables-legacy-restore", "--test", input: texts.ipv6, in: namespace)
        let nft = try StockTool.run("nft", "-c", "-f", "-", input: texts.nft, in: namespace)
        #expect(ipv4 == StockTool.Result(status: 0, output: ""))
        #expect(ipv6 == StockTool.Result(status: 0, output: ""))
        #expect(nft == StockTool.Result(status: 0, output: ""))
    }

    @Test(arguments: GoldenPlan.all)
    func `iptables-save shows exactly the rules that were reviewed`(
        _ golden: GoldenPlan
    ) async throws {
        let workload = Workload(id: golden.name, namespace: try NetworkNamespace.create())
        let lock = TemporaryFile()
        let backend = IPTablesBackend(.legacy, lockFile: lock.path)
        try await backend.apply(golden.plan, to: workload)
        let texts = Texts(golden.plan)
        let ipv4 = try StockTool.run("iptables-legacy-save", in: workload.namespace).output
        let ipv6 = try StockTool.run("ip6tables-legacy-save", in: workload.namespace).output
        #expect(StockTool.tables(ipv4) == StockTool.tables(texts.ipv4))
        #expect(StockTool.tables(ipv6) == StockTool.tables(texts.ipv6))
    }

    @Test(arguments: GoldenPlan.all)
    func `nft list shows exactly the rules that were reviewed`(
        _ golden: GoldenPlan
    ) async throws {
        let workload = Workload(id: golden.name, namespace: try NetworkNamespace.create())
        try await IPTablesBackend(.nft).apply(golden.plan, to: workload)
        let listed = try StockTool.run(
            "nft", "--stateless", "list", "ruleset", in: workload.namespace
        ).output
        #expect(StockTool.words(listed) == StockTool.words(Texts(golden.plan).nft))
    }

    @Test(arguments: GoldenPlan.all, [IPTablesBackend.Flavor.nft, .legacy])
    func `what is installed reads back as what was planned`(
        _ golden: GoldenPlan, _ flavor: IPTablesBackend.Flavor
    ) async throws {
        let workload = Workload(id: golden.name, namespace: try NetworkNamespace.create())
        let lock = TemporaryFile()
        let backend = IPTablesBackend(flavor, lockFile: lock.path)
        let inspector = IPTablesInspector(flavor)
        #expect(try await inspector.installed(in: workload) == nil)
        try await backend.apply(golden.plan, to: workload)
        #expect(try await inspector.installed(in: workload) == inspector.render(golden.plan))
    }

    @Test func `what somebody changed shows, and where`() async throws {
        let plan = Preset.fsm.plan(ownAddresses: GoldenPlan.own)
        let workload = Workload(id: "pod", namespace: try NetworkNamespace.create())
        let lock = TemporaryFile()
        let legacy = IPTablesBackend(.legacy, lockFile: lock.path)
        let nft = IPTablesBackend(.nft)
        try await legacy.apply(plan, to: workload)
        try await nft.apply(plan, to: workload)
        for words in [
            "iptables-legacy -t nat -I SWERVE_OUTBOUND ! -d 192.0.2.1 -j ACCEPT",
            "nft insert rule inet swerve outbound ct state new accept",
        ] {
            let result = try StockTool.run("sh", "-c", words, in: workload.namespace)
            #expect(result == StockTool.Result(status: 0, output: ""))
        }
        func changes(_ flavor: IPTablesBackend.Flavor) async throws -> [RenderedPlan.Change] {
            let inspector = IPTablesInspector(flavor)
            let installed = try await inspector.installed(in: workload)
            return try inspector.render(plan).changes(from: installed).flatMap(\.changes)
                .filter { if case .same = $0 { false } else { true } }
        }
        #expect(
            try await changes(.legacy) == [.removed("-A SWERVE_OUTBOUND [a rule of others]")])
        let new = try await changes(.nft)
        #expect(new.count == 1)
        guard case .removed = new.first else {
            Issue.record("\(new)")
            return
        }
    }
}
