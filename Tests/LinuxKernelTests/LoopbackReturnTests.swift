// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel
import RedirectionModel
import Testing

/// The routes by themselves; what they are good for is tested with the backend that makes them.
@Suite(.requiresKernel, .timeLimit(.minutes(5))) struct LoopbackReturnTests {
    private func routes(_ namespace: NetworkNamespace) throws -> [String] {
        try StockTool.run("ip", "-6", "route", "show", "table", "local", in: namespace).output
            .split(separator: "\n").filter { $0.hasPrefix("local ::1 ") }.map { String($0) }
    }

    private func run(_ words: String..., in namespace: NetworkNamespace) throws {
        let result = try StockTool.run(words, in: namespace)
        #expect(result == StockTool.Result(status: 0, output: ""), "\(words)")
    }

    @Test func `a route is made once for each interface that has the address, and goes`() throws {
        let pod = try TestPod.create()
        let (namespace, own) = (pod.namespace, Set(pod.addresses.values))
        try run("ip", "link", "add", "eth1", "type", "bridge", in: namespace)
        try run("ip", "link", "set", "eth1", "up", in: namespace)
        try run("ip", "address", "add", "fd00:78::2/64", "dev", "eth1", "nodad", in: namespace)
        let other = try #require(IPAddress("fd00:78::2"))
        let before = try routes(namespace)

        try LoopbackReturn.install(in: namespace, for: own)
        #expect(try routes(namespace).count == before.count + 1)
        try LoopbackReturn.install(in: namespace, for: own.union([other]))
        #expect(try routes(namespace).count == before.count + 2)
        #expect(try routes(namespace).contains { $0.contains("dev eth1 proto 121") })
        try LoopbackReturn.install(in: namespace, for: own.union([other]))
        #expect(try LoopbackReturn.remains(in: namespace).count == 2)
        #expect(try LoopbackReturn.missing(in: namespace, for: own.union([other])) == [])

        try LoopbackReturn.remove(from: namespace, sparing: [other])
        #expect(try LoopbackReturn.missing(in: namespace, for: own).count == 1)
        #expect(try LoopbackReturn.missing(in: namespace, for: [other]) == [])
        try LoopbackReturn.remove(from: namespace)
        #expect(try routes(namespace) == before)
        try LoopbackReturn.remove(from: namespace)
    }

    /// With the default metric it is the very route that we would make.
    @Test(arguments: ["metric 7", ""])
    func `a route of somebody else's will do and stays, and loopback itself needs none`(
        _ metric: String
    ) throws {
        let pod = try TestPod.create()
        let own = Set(pod.addresses.values).union([.loopback(.ipv6)])
        #expect(try LoopbackReturn.missing(in: pod.namespace, for: own).count == 1)
        let add = "ip -6 route add local ::1 dev eth0 table local \(metric)"
        #expect(try StockTool.run("sh", "-c", add, in: pod.namespace).status == 0)
        let before = try routes(pod.namespace)
        #expect(try LoopbackReturn.missing(in: pod.namespace, for: own) == [])
        try LoopbackReturn.install(in: pod.namespace, for: own)
        #expect(try LoopbackReturn.remains(in: pod.namespace) == [])
        try LoopbackReturn.remove(from: pod.namespace)
        #expect(try routes(pod.namespace) == before)
    }

    @Test func `a route that is no way back is not taken for one`() throws {
        let pod = try TestPod.create()
        let own = Set(pod.addresses.values)
        try run("ip", "-6", "route", "add", "::1", "dev", "eth0", in: pod.namespace)
        try LoopbackReturn.install(in: pod.namespace, for: own)
        #expect(try LoopbackReturn.remains(in: pod.namespace).count == 1)
    }

    @Test func `an interface that is down gets its route when it is up`() throws {
        let pod = try TestPod.create()
        let (namespace, address) = (pod.namespace, try #require(IPAddress("fd00:78::2")))
        try run("ip", "link", "add", "eth1", "type", "bridge", in: namespace)
        try run("ip", "address", "add", "fd00:78::2/64", "dev", "eth1", "nodad", in: namespace)
        try LoopbackReturn.install(in: namespace, for: [address])
        #expect(try LoopbackReturn.remains(in: namespace) == [])
        #expect(try LoopbackReturn.missing(in: namespace, for: [address]) == [])
        try run("ip", "link", "set", "eth1", "up", in: namespace)
        #expect(try LoopbackReturn.missing(in: namespace, for: [address]).count == 1)
        try LoopbackReturn.install(in: namespace, for: [address])
        #expect(try LoopbackReturn.remains(in: namespace).count == 1)
    }

    @Test func `a route that went with its interface is missed by nobody`() throws {
        let pod = try TestPod.create()
        let own = Set(pod.addresses.values)
        try LoopbackReturn.install(in: pod.namespace, for: own)
        try run("ip", "link", "delete", "eth0", in: pod.namespace)
        #expect(try LoopbackReturn.missing(in: pod.namespace, for: own) == [])
        #expect(try LoopbackReturn.remains(in: pod.namespace) == [])
        try LoopbackReturn.remove(from: pod.namespace)
    }
}
