// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel
import RedirectionModel
import SystemPackage
import Testing

/// The routing by itself; what it is good for is tested with the backends that use it.
@Suite(.requiresKernel, .timeLimit(.minutes(5))) struct TransparentRoutingTests {
    let routing = TransparentRouting(mark: 1337, table: 133)

    /// Everything the type may change, as ip(8) sees it.
    private struct State: Equatable {
        let rules: [String]
        let routes: [String]
        let sysctl: String

        init(of namespace: NetworkNamespace) throws {
            rules = try ["-4", "-6"].map {
                try StockTool.run("ip", $0, "rule", in: namespace).output
            }
            routes = try ["-4", "-6"].map { family in
                try StockTool.run("ip", family, "route", "show", "table", "all", in: namespace)
                    .output
            }
            sysctl = try StockTool.run(
                "cat", "/proc/sys/net/ipv4/tcp_fwmark_accept", in: namespace
            ).output
        }
    }

    private func run(_ words: String, in namespace: NetworkNamespace) throws {
        let result = try StockTool.run("sh", "-c", words, in: namespace)
        #expect(result == StockTool.Result(status: 0, output: ""), "\(words)")
    }

    @Test func `what is installed is there, once, and goes without a trace`() throws {
        let namespace = try NetworkNamespace.create()
        let before = try State(of: namespace)
        #expect(before.sysctl == "0\n")
        #expect(try TransparentRouting.installed(in: namespace, for: .rules) == nil)

        try routing.install(in: namespace, for: .rules)
        #expect(try TransparentRouting.installed(in: namespace, for: .rules) == routing)
        let once = try State(of: namespace)
        for rules in once.rules { #expect(rules.contains("fwmark 0x539 lookup 133 proto 115")) }
        for routes in once.routes { #expect(routes.contains("local default dev lo table 133")) }
        #expect(once.sysctl == "1\n")

        try routing.install(in: namespace, for: .rules)
        #expect(try State(of: namespace) == once)
        try TransparentRouting.remove(from: namespace, for: .rules)
        #expect(try State(of: namespace) == before)
        try TransparentRouting.remove(from: namespace, for: .rules)
        #expect(try State(of: namespace) == before)
    }

    @Test func `a sysctl that was on stays on, also when the numbers changed`() throws {
        let namespace = try NetworkNamespace.create()
        try run("echo 1 > /proc/sys/net/ipv4/tcp_fwmark_accept", in: namespace)
        let before = try State(of: namespace)
        try routing.install(in: namespace, for: .rules)
        try TransparentRouting(mark: 7, table: 4_000_000_000).install(in: namespace, for: .rules)
        #expect(
            try TransparentRouting.installed(in: namespace, for: .rules)
                == TransparentRouting(mark: 7, table: 4_000_000_000))
        try TransparentRouting.remove(from: namespace, for: .rules)
        #expect(try State(of: namespace) == before)
    }

    @Test(arguments: [(7, 133), (1337, 8), (7, 8)] as [(UInt32, UInt32)])
    func `other numbers take the place of the first`(_ mark: UInt32, _ table: UInt32) throws {
        let other = TransparentRouting(mark: mark, table: table)
        let namespace = try NetworkNamespace.create()
        let before = try State(of: namespace)
        let fresh = try NetworkNamespace.create()
        try other.install(in: fresh, for: .rules)
        try routing.install(in: namespace, for: .rules)
        try other.install(in: namespace, for: .rules)
        #expect(try TransparentRouting.installed(in: namespace, for: .rules) == other)
        #expect(try State(of: namespace) == State(of: fresh))
        try TransparentRouting.remove(from: namespace, for: .rules)
        #expect(try State(of: namespace) == before)
    }

    @Test func `rules and routes of others stay`() throws {
        let namespace = try NetworkNamespace.create()
        try run(
            "ip rule add fwmark 1337 lookup 133 && ip rule add fwmark 5 lookup 6", in: namespace)
        try run("ip -6 rule add fwmark 1337 lookup 133 prio 5", in: namespace)
        try run("ip -6 route add local 2001:db8::/32 dev lo table 133", in: namespace)
        let before = try State(of: namespace)
        try routing.install(in: namespace, for: .rules)
        #expect(try State(of: namespace) != before)
        try TransparentRouting.remove(from: namespace, for: .rules)
        #expect(try State(of: namespace) == before)
    }

    @Test func `a table that leads elsewhere is refused and nothing is left`() throws {
        let namespace = try NetworkNamespace.create()
        try run("ip route add unreachable default table 133", in: namespace)
        let before = try State(of: namespace)
        #expect(throws: KernelError.self) { try routing.install(in: namespace, for: .rules) }
        #expect(try State(of: namespace) == before)
    }

    @Test func `a part of it is not installed, and is completed`() throws {
        for damage in [
            "ip rule del fwmark 1337", "ip -6 rule del fwmark 1337", "ip route flush table 133",
            "ip -6 route flush table 133", "echo 0 > /proc/sys/net/ipv4/tcp_fwmark_accept",
        ] {
            let namespace = try NetworkNamespace.create()
            let before = try State(of: namespace)
            try routing.install(in: namespace, for: .rules)
            let whole = try State(of: namespace)
            try run(damage, in: namespace)
            #expect(
                try TransparentRouting.installed(in: namespace, for: .rules) == nil, "\(damage)")
            try routing.install(in: namespace, for: .rules)
            #expect(
                try TransparentRouting.installed(in: namespace, for: .rules) == routing, "\(damage)"
            )
            #expect(try State(of: namespace) == whole, "\(damage)")
            try TransparentRouting.remove(from: namespace, for: .rules)
            #expect(try State(of: namespace) == before, "\(damage)")
        }
    }

    @Test func `each owner has its own, and the last one puts the sysctl back`() throws {
        for last in TransparentRouting.Owner.allCases {
            let first: TransparentRouting.Owner = last == .rules ? .programs : .rules
            let namespace = try NetworkNamespace.create()
            let before = try State(of: namespace)
            try routing.install(in: namespace, for: first)
            try routing.install(in: namespace, for: last)
            try TransparentRouting.remove(from: namespace, for: first)
            #expect(try TransparentRouting.installed(in: namespace, for: first) == nil)
            #expect(try TransparentRouting.installed(in: namespace, for: last) == routing)
            // The first one's numbers are the last one's too.
            try routing.install(in: namespace, for: first)
            try TransparentRouting(mark: 8, table: 9).install(in: namespace, for: first)
            #expect(try TransparentRouting.installed(in: namespace, for: last) == routing)
            try TransparentRouting.remove(from: namespace, for: first)
            try TransparentRouting.remove(from: namespace, for: last)
            #expect(try State(of: namespace) == before)
        }
    }

    @Test func `the sysctl goes back though somebody has deleted rules`() throws {
        for damage in [
            "ip rule del fwmark 1337", "ip -6 rule del fwmark 1337",
            "ip rule del fwmark 1337; ip -6 rule del fwmark 1337",
            "ip route flush table 133; ip -6 route flush table 133; ip rule del fwmark 1337",
        ] {
            let namespace = try NetworkNamespace.create()
            let before = try State(of: namespace)
            try routing.install(in: namespace, for: .rules)
            try run(damage, in: namespace)
            try TransparentRouting.remove(from: namespace, for: .rules)
            #expect(try State(of: namespace) == before, "\(damage)")
        }
    }

    @Test func `without IPv6 there is IPv4 alone`() throws {
        let namespace = try NetworkNamespace.create()
        try run("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6", in: namespace)
        let before = try State(of: namespace)
        try routing.install(in: namespace, for: .rules)
        #expect(try TransparentRouting.installed(in: namespace, for: .rules) == routing)
        try TransparentRouting.remove(from: namespace, for: .rules)
        #expect(try State(of: namespace) == before)
    }
}
