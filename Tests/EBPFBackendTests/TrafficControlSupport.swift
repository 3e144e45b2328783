// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import Testing

/// Runs `body` with a pod whose inbound connections tc redirects by the fsm preset's plan.
func withTrafficControl(
    preparing prepare: (TestPod) throws -> Void = { _ in },
    _ body: (TestPod, EBPFBackend) async throws -> Void
) async throws {
    try await withTestCgroup { cgroup in
        let backend = try await EBPFBackend.load(attachingTo: cgroup, inbound: .trafficControl)
        let pod = try TestPod.create()
        try prepare(pod)
        try await pod.redirected(by: backend) { try await body(pod, backend) }
    }
}

/// The two ends of a connection through tc.
struct Connection: ~Copyable {
    let client: Socket
    /// The sidecar's end.
    let server: Socket

    /// Connects from the pod's peer to `port`, optionally from a port of its choice.
    static func open(
        _ pod: TestPod, _ family: AddressFamily, port: UInt16 = 8080, from source: UInt16? = nil,
        accepting sidecar: borrowing Socket
    ) throws(KernelError) -> Connection {
        let client = try pod.peer.connect(
            to: Endpoint(pod.address(family), port), as: .root,
            from: source.map { Endpoint(pod.peerAddress(family), $0) })
        return Connection(client: client, server: try sidecar.accept())
    }

    /// Sends a text each way and sees the other end get it.
    func exchange(_ text: String) throws(KernelError) {
        try client.send("to \(text)")
        #expect(try server.receive(text.utf8.count + 3) == "to \(text)")
        try server.send("from \(text)")
        #expect(try client.receive(text.utf8.count + 5) == "from \(text)")
    }

    /// Where the sidecar is told that the connection was going.
    func origin(_ family: AddressFamily) throws(KernelError) -> Endpoint {
        try server.originalDestination(family)
    }

    /// Ends the connection, the sidecar first: it is left with the TIME_WAIT.
    consuming func closeServerFirst() throws(KernelError) {
        try server.finishSending()
        #expect(try client.receiveAll() == "")
        try client.finishSending()
        #expect(try server.receiveAll() == "")
    }

    /// Ends the connection, the client first: nothing stays in the pod.
    consuming func closeClientFirst() throws(KernelError) {
        try client.finishSending()
        #expect(try server.receiveAll() == "")
        try server.finishSending()
        #expect(try client.receiveAll() == "")
    }
}

// MARK: Sudden ends

extension Connection {
    /// Lets go of both ends.
    consuming func close() {}

    /// The sidecar resets; returns what the client learns.
    consuming func resetByServer() throws(KernelError) -> Errno? {
        try server.resetOnClose()
        Self.letGo(server)
        return client.failureOfReading()
    }

    /// The client resets; returns what the sidecar learns.
    consuming func resetByClient() throws(KernelError) -> Errno? {
        try client.resetOnClose()
        Self.letGo(client)
        return server.failureOfReading()
    }

    /// The sidecar closes with bytes unread, which resets; returns what the client learns.
    consuming func closeUnread() throws(KernelError) -> Errno? {
        try client.send("never read")
        #expect(try server.descriptor.waitForInput(.seconds(10)))
        Self.letGo(server)
        return client.failureOfReading()
    }

    private static func letGo(_ socket: consuming Socket) {}
}

extension Socket {
    /// Reads exactly `count` bytes.
    func receive(_ count: Int) throws(KernelError) -> String {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let more = try descriptor.read(upTo: count - bytes.count)
            guard !more.isEmpty else { break }
            bytes += more
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Why reading fails; `nil` when the peer finished in order.
    func failureOfReading() -> Errno? {
        do throws(KernelError) {
            _ = try receiveAll()
            return nil
        } catch {
            return error.errno
        }
    }
}

extension NetworkNamespace {
    /// The states of its IPv4 connections, as /proc/net/tcp numbers them.
    func tcpStates() throws(KernelError) -> [Substring] {
        let table = try run { () throws(KernelError) in try readFile("/proc/thread-self/net/tcp") }
        return table.split(separator: "\n").dropFirst().map { line in
            line.split(separator: " ")[3]
        }
    }
}

extension EBPFBackend {
    /// How many entries there are in the table of flows, two a connection.
    func flowEntries() throws(RedirectionError) -> Int { try occupancy()["swerve_flows"] ?? -1 }

    /// Sweeps until no flow is left; false if some still are after `limit`.
    func becomesEmpty(within limit: Duration) async throws -> Bool {
        let end = ContinuousClock.now + limit
        while ContinuousClock.now < end {
            try sweep()
            if try flowEntries() == 0 { return true }
            try await Task.sleep(for: .milliseconds(50))
        }
        return false
    }
}

/// Counts packets in a namespace, and drops some, by the stock nft(8).
struct PacketFilter {
    let namespace: NetworkNamespace

    /// Counts what matches each expression, by name, before anything else happens to it.
    init(in namespace: NetworkNamespace, counting expressions: [String: String]) throws {
        self.namespace = namespace
        var rules = "table inet watch {\n"
        for name in expressions.keys { rules += "counter \(name) {}\n" }
        rules += "chain drops { type filter hook prerouting priority -299; }\n"
        rules += "chain counts { type filter hook prerouting priority -450;\n"
        for (name, expression) in expressions { rules += "\(expression) counter name \(name)\n" }
        #expect(try run(["nft", rules + "}\n}\n"], in: namespace).status == 0)
    }

    func count(_ name: String) throws -> Int {
        let words = try run(["nft", "list counter inet watch \(name)"], in: namespace).output
            .split(whereSeparator: \.isWhitespace)
        let place = try #require(words.firstIndex(of: "packets"))
        return try #require(Int(words[place + 1]))
    }

    func drop(_ expression: String) throws {
        let rule = "add rule inet watch drops \(expression) drop"
        #expect(try run(["nft", rule], in: namespace).status == 0)
    }

    func stopDropping() throws {
        #expect(try run(["nft", "flush chain inet watch drops"], in: namespace).status == 0)
    }
}

/// Runs a stock tool, which has ten seconds, and returns what it printed.
@discardableResult
func run(
    _ words: [String], in namespace: NetworkNamespace
) throws(KernelError) -> (status: Int, output: String) {
    let output = try OwnedDescriptor.pipe()
    var birth = ChildProcess.Birth(["timeout", "10"] + words)
    birth.namespace = namespace
    birth.output = output.writer.rawValue
    let child = try ChildProcess.start(birth)
    let text = String(decoding: try output.takeReader().readAll(), as: UTF8.self)
    return (try child.waitForExit(), text)
}
