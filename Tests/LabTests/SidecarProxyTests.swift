// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import LinuxKernel
import NIOCore
import RedirectionModel
import SystemPackage
import Testing

@testable import SidecarProxy

/// A sidecar between a client and an origin, all on loopback; the origin lookup is told.
private struct Bench: ~Copyable {
    let proxy: SidecarProxy
    let origin: Socket
    let endpoint: Endpoint
    private let records: OwnedDescriptor

    static func make(
        lookup: OriginLookup? = nil
    ) async throws -> Bench {
        let origin = try Socket.open(.tcp, .ipv4)
        try origin.bind(Endpoint(.loopback(.ipv4), 0))
        try origin.listen()
        let endpoint = try origin.localEndpoint()
        let pipe = try OwnedDescriptor.pipe()
        let proxy = try await SidecarProxy.start(
            .init(pod: "test", outboundPort: 0, inboundPort: 0, host: "127.0.0.1"),
            recorder: ConnectionRecorder(OwnedDescriptor(duplicating: pipe.writer.rawValue)),
            origin: lookup ?? { $0.eventLoop.makeSucceededFuture(endpoint) })
        return Bench(
            proxy: proxy, origin: origin, endpoint: endpoint, records: pipe.takeReader())
    }

    func connect(to port: UInt16? = nil) throws -> Socket {
        let client = try Socket.open(.tcp, .ipv4)
        try client.connect(to: Endpoint(.loopback(.ipv4), port ?? proxy.outboundPort))
        return client
    }

    /// The next line of the record.
    func record() throws -> ConnectionRecord {
        #expect(try records.waitForInput(.seconds(5)))
        let line = try records.read(upTo: 4096)
        return try JSONDecoder().decode(ConnectionRecord.self, from: Data(line))
    }
}

@Suite(.timeLimit(.minutes(5)))
struct SidecarProxyTests {
    @Test func `an end of stream from the client reaches the origin, and answers come back`()
        async throws
    {
        let bench = try await Bench.make()
        let client = try bench.connect()
        try client.send("ping")
        try client.finishSending()
        let origin = try bench.origin.accept()
        let (near, far) = (try client.localEndpoint(), try origin.peerEndpoint())
        #expect(try origin.receiveAll() == "ping")
        try origin.send("pong!")
        try origin.finishSending()
        #expect(try client.receiveAll() == "pong!")

        let record = try bench.record()
        #expect(record.role == .outbound)
        #expect(record.error == nil)
        #expect(record.sent == 4)
        #expect(record.received == 5)
        #expect(record.peer == near)
        #expect(record.origin == bench.endpoint)
        #expect(record.connectedFrom == far)
        await bench.proxy.stop(grace: .seconds(5))
    }

    @Test func `an end of stream from the origin leaves the client free to send on`()
        async throws
    {
        let bench = try await Bench.make()
        let client = try bench.connect()
        let origin = try bench.origin.accept()
        try origin.send("bye")
        try origin.finishSending()
        #expect(try client.receiveAll() == "bye")
        try client.send("one more thing")
        try client.finishSending()
        #expect(try origin.receiveAll() == "one more thing")
        #expect(try bench.record().error == nil)
        await bench.proxy.stop(grace: .seconds(5))
    }

    @Test func `an origin that does not read stops its client, and then gets every byte`()
        async throws
    {
        let bench = try await Bench.make()
        let client = try bench.connect()
        let origin = try bench.origin.accept(timeout: .seconds(10))
        try client.setTimeout(.milliseconds(400))
        let chunk = [UInt8](repeating: 7, count: 65536)
        var sent = 0
        // The kernel's buffers of four sockets hold some 20 MiB at most; the sidecar adds little.
        while sent < 128 << 20 {
            do throws(KernelError) {
                try client.descriptor.write(chunk)
                sent += chunk.count
            } catch {
                #expect(error.errno == .resourceTemporarilyUnavailable)
                break
            }
        }
        #expect(sent < 64 << 20, "nothing held the client back")
        try client.finishSending()
        let received = try origin.descriptor.readAll()
        // The last chunk may have been taken in part.
        #expect((sent..<(sent + chunk.count)).contains(received.count))
        try origin.finishSending()
        #expect(try client.receiveAll().isEmpty)
        #expect(try bench.record().sent == received.count)
        await bench.proxy.stop(grace: .seconds(5))
    }

    @Test func `a reset passes on as a reset`() async throws {
        let bench = try await Bench.make()
        let origin = try connectAndReset(bench)
        #expect(throws: KernelError("read", .connectionReset)) { try origin.receiveAll() }
        #expect(try bench.record().error != nil)
        await bench.proxy.stop(grace: .seconds(5))
    }

    /// NIO hands out everything up to the end of stream unasked; what came before the origin was
    /// connected went nowhere, and the connection hung.
    @Test func `what a client sends before the origin is known is not lost`() async throws {
        let origin = try Socket.open(.tcp, .ipv4)
        try origin.bind(Endpoint(.loopback(.ipv4), 0))
        try origin.listen()
        let endpoint = try origin.localEndpoint()
        let bench = try await Bench.make { channel in
            channel.eventLoop.scheduleTask(in: .milliseconds(100)) { endpoint }.futureResult
        }
        let client = try bench.connect()
        try client.send("early")
        try client.finishSending()
        let accepted = try origin.accept()
        #expect(try accepted.receiveAll() == "early")
        try accepted.finishSending()
        #expect(try client.receiveAll().isEmpty)
        #expect(try bench.record().sent == 5)
        await bench.proxy.stop(grace: .seconds(5))
    }

    /// The origin's end of a connection whose client has just reset it.
    private func connectAndReset(_ bench: borrowing Bench) throws -> Socket {
        let client = try bench.connect()
        try client.send("x")
        let origin = try bench.origin.accept()
        #expect(try origin.descriptor.read(upTo: 1) == [UInt8(ascii: "x")])
        try client.resetOnClose()
        return origin
    }

    @Test func `inbound connections go to loopback on the origin's port`() async throws {
        let original = Endpoint(IPAddress(ipv4: 0x0af4_0103), 0)
        let listener = try Socket.open(.tcp, .ipv4)
        try listener.bind(Endpoint(.loopback(.ipv4), 0))
        try listener.listen()
        let port = try listener.localEndpoint().port
        let bench = try await Bench.make {
            $0.eventLoop.makeSucceededFuture(Endpoint(original.address, port))
        }
        let client = try bench.connect(to: bench.proxy.inboundPort)
        try client.finishSending()
        let accepted = try listener.accept()
        #expect(try accepted.receiveAll().isEmpty)
        try accepted.finishSending()
        #expect(try client.receiveAll().isEmpty)
        let record = try bench.record()
        #expect(record.role == .inbound)
        #expect(record.origin == Endpoint(original.address, port))
        #expect(record.connectedTo == Endpoint(.loopback(.ipv4), port))
        await bench.proxy.stop(grace: .seconds(5))
    }

    /// A proxy that goes to its own port goes there for ever, a descriptor a round.
    @Test func `a connection whose origin is the sidecar is closed and recorded`() async throws {
        let bench = try await Bench.make { channel in
            channel.eventLoop.makeSucceededFuture(
                Endpoint(.loopback(.ipv4), UInt16(channel.localAddress?.port ?? 0)))
        }
        let client = try bench.connect()
        #expect((try? client.receiveAll()) ?? "" == "")
        let record = try bench.record()
        #expect(record.error?.contains("a loop") == true)
        #expect(record.connectedTo == nil)
        await bench.proxy.stop(grace: .seconds(5))
    }

    @Test func `a connection nobody redirected is closed and recorded`() async throws {
        let bench = try await Bench.make(lookup: OriginalDestination.askKernel)
        let client = try bench.connect()
        #expect((try? client.receiveAll()) ?? "" == "")
        // No translation at all, or, where the machine tracks connections, one to itself.
        #expect(try bench.record().error != nil)
        await bench.proxy.stop(grace: .seconds(5))
    }

    @Test func `stopping waits for live connections and then cuts them`() async throws {
        let bench = try await Bench.make()
        let client = try bench.connect()
        let origin = try bench.origin.accept()
        let start = ContinuousClock.now
        await bench.proxy.stop(grace: .milliseconds(300))
        #expect(ContinuousClock.now - start >= .milliseconds(300))
        #expect((try? client.receiveAll()) ?? "" == "")
        #expect((try? origin.receiveAll()) ?? "" == "")
        let refused = Endpoint(.loopback(.ipv4), bench.proxy.outboundPort)
        #expect(throws: KernelError("connect(\(refused))", .connectionRefused)) {
            _ = try bench.connect()
        }
    }
}

@Suite struct OriginalDestinationTests {
    @Test func `an IPv4 answer is read in network order`() throws {
        var name = SIMD16<UInt8>()
        for (index, byte) in [2, 0, 0x1f, 0x90, 10, 244, 1, 3].enumerated() {
            name[index] = UInt8(byte)
        }
        #expect("\(try OriginalDestination.endpoint(fromIPv4: name))" == "10.244.1.3:8080")
    }

    @Test func `an IPv6 answer is read in network order`() throws {
        var name = SIMD32<UInt8>()
        let bytes: [UInt8] = [10, 0, 0x1f, 0x90, 0, 0, 0, 0, 0xfd, 0, 2, 0x44]
        for (index, byte) in bytes.enumerated() { name[index] = byte }
        name[23] = 3
        #expect("\(try OriginalDestination.endpoint(fromIPv6: name))" == "[fd00:244::3]:8080")
    }

    @Test func `an answer that was not filled in is no address`() {
        #expect(throws: NoOrigin.notAnAddress) {
            try OriginalDestination.endpoint(fromIPv4: .zero)
        }
    }

    @Test func `an IPv4-mapped address of a dual-stack socket is an IPv4 one`() throws {
        let mapped = try SocketAddress(ipAddress: "::ffff:10.244.1.2", port: 7)
        #expect(Endpoint(mapped) == Endpoint("10.244.1.2:7"))
    }
}
