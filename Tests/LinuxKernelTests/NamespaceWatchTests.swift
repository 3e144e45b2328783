// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel
import Testing

@Suite(.requiresKernel, .timeLimit(.minutes(1))) struct NamespaceWatchTests {
    struct Change: Sendable {
        let command: String
        let parts: Set<NamespaceWatch.Part>

        init(_ command: String, _ parts: Set<NamespaceWatch.Part>) {
            self.command = command
            self.parts = parts
        }
    }

    static let changes = [
        Change("nft add table inet x", [.rules]),
        Change("nft 'add table inet x; flush ruleset'", [.rules]),
        Change("ip rule add fwmark 7 lookup 7", [.routing]),
        Change("ip -6 rule add fwmark 7 lookup 7", [.routing]),
        Change("ip route add local default dev lo table 7", [.routing]),
        Change("tc qdisc add dev lo clsact", [.qdisc]),
        Change("ip link set lo mtu 60000", [.link]),
        // Of legacy tables nobody is told.
        Change("iptables-legacy -t nat -A OUTPUT -j ACCEPT", []),
    ]

    @Test(arguments: changes)
    func `a change is heard of, as what it is`(_ change: Change) throws {
        let (command, parts) = (change.command, change.parts)
        let namespace = try NetworkNamespace.create()
        // It makes the table, and with it what nobody is to hear of later.
        _ = try StockTool.run("iptables-legacy", "-t", "nat", "-L", in: namespace)
        let watch = try NamespaceWatch.open(in: namespace)
        #expect(try watch.read().isEmpty)
        let result = try StockTool.run("sh", "-c", command, in: namespace)
        #expect(result == StockTool.Result(status: 0, output: ""))
        let heard = try watch.waitForChange(parts.isEmpty ? .zero : .seconds(10))
        #expect(heard.isSuperset(of: parts), "\(heard)")
        // Routes of an interface may go with it.
        #expect(parts.contains(.link) || heard == parts)
        #expect(try watch.read().isEmpty)
    }

    @Test func `what happens elsewhere is not heard of`() throws {
        let namespace = try NetworkNamespace.create()
        let watch = try NamespaceWatch.open(in: namespace)
        let other = try NetworkNamespace.create()
        _ = try StockTool.run("nft", "add", "table", "inet", "x", in: other)
        #expect(try watch.read().isEmpty)
    }

    @Test func `after more changes than it could keep, everything may have changed`() throws {
        let namespace = try NetworkNamespace.create()
        let watch = try NamespaceWatch.open(in: namespace)
        // Far more than a socket's buffer holds of notices: 200 kB, a rule each 400 bytes.
        let rules = (0..<4000).map { "ip rule add fwmark \($0 + 1) lookup 7" }
        let batch = TemporaryFile()
        let text = rules.map { String($0.dropFirst("ip ".count)) }.joined(separator: "\n")
        try OwnedDescriptor.open(batch.path, .replace).write(text)
        let result = try StockTool.run("ip", "-batch", batch.path, in: namespace)
        #expect(result == StockTool.Result(status: 0, output: ""))
        #expect(try watch.read() == [.routing, .qdisc, .link])
        #expect(try watch.read().isEmpty)
        _ = try StockTool.run("ip", "rule", "add", "fwmark", "9999", "lookup", "7", in: namespace)
        #expect(try watch.waitForChange(.seconds(10)) == [.routing])
    }
}
