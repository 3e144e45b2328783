// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing
import XTables

/// Rules of others in a namespace, made by their tools, are found and named.
@Suite(.requiresKernel, .timeLimit(.minutes(1))) struct OthersTests {
    private let pod: TestPod

    init() throws { pod = try TestPod.create() }

    private var others: [ForeignHook] { IPTablesBackend.others(in: pod.namespace) }

    private func run(_ words: String) throws {
        let result = try StockTool.run(
            words.split(separator: " ").map(String.init), in: pod.namespace)
        try #require(result.status == 0, "\(words): \(result.output)")
    }

    private func makeChain(_ type: String, _ hook: String, _ priority: Int) throws {
        let rules = """
            table ip mesh {
              chain theirs { type \(type) hook \(hook) priority \(priority); counter; }
            }
            """
        let result = try StockTool.run("nft", "-f", "-", input: rules, in: pod.namespace)
        try #require(result.status == 0, "\(result.output)")
    }

    @Test func `where nobody was, nobody is found, and looking makes no tables`() throws {
        #expect(others.isEmpty)
        let made = try pod.namespace.run { () throws(KernelError) in
            try XTable.exists("nat", .ipv4)
        }
        #expect(!made)
    }

    private static let chains: [(String, Int, Set<Mechanism>)] = [
        ("output", -150, [.nft, .legacy]), ("output", -100, [.legacy]), ("output", -99, []),
        ("prerouting", -150, [.ebpf, .nft, .legacy]), ("prerouting", 0, [.ebpf]),
    ]

    @Test(arguments: chains)
    func `a chain comes before those of later priority`(
        _ hook: String, _ priority: Int, _ precedes: Set<Mechanism>
    ) throws {
        try makeChain("nat", hook, priority)
        let found = try #require(others.first)
        #expect(others.count == 1)
        #expect(found.name == "chain theirs of table ip mesh")
        #expect(found.place == "hook \(hook), type nat, priority \(priority)")
        #expect(found.precedes == precedes)
        #expect(others.usedRules == .nft)
    }

    /// What `NFTBaseChain.preempts` and ADR 0019 say of this.
    @Test(arguments: [true, false])
    func `of two chains at one priority the younger comes first`(_ nftIsYounger: Bool) throws {
        let rules = """
            table ip mesh {
              chain theirs { type nat hook output priority -100; tcp dport 80 redirect to :81; }
            }
            """
        func addChain() throws {
            let result = try StockTool.run("nft", "-f", "-", input: rules, in: pod.namespace)
            try #require(result.status == 0, "\(result.output)")
        }
        if !nftIsYounger { try addChain() }
        try run("iptables-legacy -t nat -A OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 82")
        if nftIsYounger { try addChain() }
        let (first, other): (UInt16, UInt16) = nftIsYounger ? (81, 82) : (82, 81)
        let reached = try pod.namespace.listen(.ipv4, first)
        let missed = try pod.namespace.listen(.ipv4, other)
        let client = try pod.namespace.connect(to: Endpoint(pod.peerAddress(.ipv4), 80))
        try converse(client, try reached.accept())
        #expect(try !missed.descriptor.waitForInput(.zero))
    }

    @Test func `a chain that decides nothing is nobody's`() throws {
        try run("nft add table inet idle")
        let quiet = """
            table inet idle {
              chain output { type nat hook output priority -200; }
              chain late { type nat hook postrouting priority 100; counter; }
            }
            """
        _ = try StockTool.run("nft", "-f", "-", input: quiet, in: pod.namespace)
        #expect(others.isEmpty)
        let closed =
            "table inet idle { chain closed { type filter hook output priority 0; policy drop; }; }"
        _ = try StockTool.run("nft", "-f", "-", input: closed, in: pod.namespace)
        #expect(others.map(\.name) == ["chain closed of table inet idle"])
    }

    @Test func `legacy rules are found, and so is the kind that is used`() throws {
        try run("iptables-legacy -t nat -A OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 9")
        try run("iptables-legacy -t nat -A OUTPUT -j ACCEPT")
        let found = try #require(others.first)
        #expect(others.count == 1)
        #expect(found.name == "2 rules, the first to REDIRECT")
        #expect(found.place == "iptables-legacy table nat, chain OUTPUT")
        // Ours will be put before them.
        #expect(found.precedes.isEmpty)
        #expect(others.usedRules == .legacy)
    }

    private static let positions: [(String, Set<Mechanism>)] = [("-I", [.legacy]), ("-A", [])]

    @Test(arguments: positions)
    func `whether legacy rules come before ours depends on where they are`(
        _ position: String, _ precedes: Set<Mechanism>
    ) async throws {
        let backend = IPTablesBackend(.legacy)
        try await backend.apply(pod.plan, to: pod.workload)
        #expect(others.isEmpty)
        try run("ip6tables-legacy -t nat \(position) OUTPUT -j ACCEPT")
        #expect(others.map(\.precedes) == [precedes])
        #expect(others.first?.place == "ip6tables-legacy table nat, chain OUTPUT")
    }

    @Test func `both kinds at once are no kind`() async throws {
        try makeChain("nat", "output", -100)
        try run("iptables-legacy -t nat -A PREROUTING -j ACCEPT")
        #expect(others.count == 2)
        #expect(others.usedRules == nil)
    }

    @Test func `ours are nobody else's`() async throws {
        try await IPTablesBackend(.nft).apply(pod.plan, to: pod.workload)
        #expect(others.isEmpty)
    }
}
