// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import Foundation
import KernelTestSupport
import LinuxKernel
import LocalHTTP
import Synchronization
import SystemPackage
import Testing

/// Whatever a client does, it gets an end, and nobody else waits for it.
@Suite(.timeLimit(.minutes(3))) struct LocalServerTests {
    private static let echo = LocalServer.Service(
        answer: { request in
            Answer(
                200,
                text: "\(request.method) \(request.path) \(request.query) "
                    + "\(request.body.count) \(request.peer.uid)")
        },
        refuse: { Answer($0.status, text: "\($0)") })

    /// Runs a client, on a thread of its own, while a server listens.
    private func serve<Value: Sendable>(
        _ limits: Limits = Limits(), _ service: LocalServer.Service = echo,
        _ client: @escaping @Sendable (String) throws -> Value
    ) async throws -> Value {
        let path = TemporaryFile()
        let server = try await LocalServer.start(at: path.path, limits: limits, service)
        let result: Result<Value, any Error>
        do {
            result = .success(try await onThread { [path = path.path] in try client(path) })
        } catch {
            result = .failure(error)
        }
        await server.stop(grace: .seconds(5))
        #expect(!FileManager.default.fileExists(atPath: path.path))
        return try result.get()
    }

    private static func impatient(_ milliseconds: Int = 300) -> Limits {
        var limits = Limits()
        limits.patience = .milliseconds(milliseconds)
        return limits
    }

    @Test func `a request is answered, and the connection ends`() async throws {
        try await serve { path in
            let reply = try TestRequest("POST", "/a/b?c=d", "hello").ask(path)
            #expect(reply.status == 200)
            #expect(reply.text == "POST /a/b c=d 5 \(getuid())")
        }
    }

    @Test func `the socket is root's alone, and takes the place of one that was left`() async throws
    {
        let path = TemporaryFile()
        for _ in 0..<2 {
            let server = try await LocalServer.start(at: path.path, Self.echo)
            let attributes = try FileManager.default.attributesOfItem(atPath: path.path)
            #expect(attributes[.posixPermissions] as? Int == 0o600)
            #expect(attributes[.type] as? FileAttributeType == .typeSocket)
            // The next one finds this one's socket, as after a crash.
            let second = try await LocalServer.start(at: path.path, Self.echo)
            let reply = try await onThread { [path = path.path] in
                try TestRequest("GET", "/").ask(path)
            }
            #expect(reply.status == 200)
            await second.stop(grace: .zero)
            await server.stop(grace: .zero)
        }
        try Data("mine".utf8).write(to: URL(filePath: path.path))
        await #expect(throws: LocalServer.Failure.occupied(path.path)) {
            _ = try await LocalServer.start(at: path.path, Self.echo)
        }
        #expect(try readFile(path.path) == "mine")
        let long = "/tmp/" + String(repeating: "x", count: 100)
        await #expect(throws: LocalServer.Failure.pathTooLong(long)) {
            _ = try await LocalServer.start(at: long, Self.echo)
        }
    }

    @Test(arguments: [
        "", "G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhell",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhell",
    ])
    func `who does not finish a request is told so, and cut off`(beginning: String) async throws {
        try await serve(Self.impatient()) { path in
            let client = try UnixClient.connect(path)
            try client.send(beginning)
            #expect(try client.reply().status == 408)
        }
    }

    @Test func `a byte now and then does not keep a connection`() async throws {
        try await serve(Self.impatient()) { path in
            let client = try UnixClient.connect(path)
            try client.send("GET / HTTP/1.1\r\nX: ")
            var received: [UInt8] = []
            // Each byte comes sooner than the patience ends; all of them take far longer.
            for _ in 0..<1000 where received.isEmpty {
                try client.send("x")
                received += try client.receive(within: .milliseconds(20)) ?? []
            }
            #expect(String(decoding: received, as: UTF8.self).hasPrefix("HTTP/1.1 408 "))
            #expect(try client.receiveAll().count >= 0)
        }
    }

    @Test func `slow clients hold up nobody`() async throws {
        try await serve { path in
            var idle: [SharedClient] = []
            for _ in 0..<50 { idle.append(try SharedClient(path, "POST / HTTP/1.1\r\n")) }
            for _ in 0..<20 {
                #expect(try TestRequest("GET", "/").ask(path).status == 200)
            }
            #expect(idle.count == 50)
        }
    }

    @Test func `what is too large is refused while it comes`() async throws {
        var limits = Limits()
        limits.body = 1000
        try await serve(limits) { path in
            let announced = try UnixClient.connect(path)
            try announced.send("POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n")
            #expect(try announced.reply().status == 413)
            let endless = try UnixClient.connect(path)
            try endless.send("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in 0..<50 {
                try endless.send("64\r\n" + String(repeating: "x", count: 100) + "\r\n")
            }
            #expect(try endless.reply().status == 413)
            #expect(
                try TestRequest("POST", "/", String(repeating: "x", count: 1000)).ask(path)
                    .status == 200)
            let heads = try UnixClient.connect(path)
            try heads.send("GET / HTTP/1.1\r\nX: " + String(repeating: "x", count: 100_000))
            #expect(try heads.reply().status == 400)
        }
    }

    @Test(arguments: [
        "hello\r\n\r\n", "GET\r\n\r\n", "\u{0}\u{1}\u{2}\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ])
    func `nonsense is recognized, answered and cut off`(text: String) async throws {
        // Nobody waits for more of it.
        try await serve(Self.impatient(600_000)) { path in
            let client = try UnixClient.connect(path)
            try client.send(text)
            #expect(try client.reply().status == 400)
        }
    }

    @Test func `who has shut its end after a request is answered, in the middle refused`()
        async throws
    {
        try await serve { path in
            let client = try UnixClient.connect(path)
            try client.send(TestRequest("GET", "/half").text)
            try client.finishSending()
            #expect(try client.reply().text.hasPrefix("GET /half"))
            let early = try UnixClient.connect(path)
            try early.send("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe")
            try early.finishSending()
            #expect(try early.reply().status == 400)
        }
    }

    @Test func `connections have a limit, and are free again`() async throws {
        var limits = Limits()
        limits.connections = 3
        try await serve(limits) { path in
            var held: [SharedClient] = []
            for _ in 0..<3 {
                let client = try SharedClient(
                    path, "POST / HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
                // Heard, and so counted: connections are taken up in any order.
                let heard = try client.client.receive() ?? []
                #expect(String(decoding: heard, as: UTF8.self).hasPrefix("HTTP/1.1 100"))
                held.append(client)
            }
            // That they are there, or gone, is noticed some time after.
            #expect(try Self.waitForStatus(503, path))
            #expect(held.count == 3)
            held = []
            #expect(try Self.waitForStatus(200, path))
        }
    }

    @Test func `who is refused for the crowd takes nobody's place`() async throws {
        var limits = Self.impatient(600_000)
        limits.connections = 1
        try await serve(limits) { path in
            var crowd: [SharedClient] = []
            do {
                let first = try SharedClient(
                    path, "POST / HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
                #expect(try first.client.receive()?.isEmpty == false)
                // They are told so at once, and stay.
                #expect(try Self.waitForStatus(503, path))
                for _ in 0..<20 {
                    let other = try SharedClient(path, "")
                    #expect(try other.client.reply().status == 503)
                    crowd.append(other)
                }
                withExtendedLifetime(first) {}
            }
            #expect(try Self.waitForStatus(200, path))
            #expect(crowd.count == 20)
        }
    }

    private static func waitForStatus(_ status: Int, _ path: String) throws -> Bool {
        for _ in 0..<3000 {
            if try TestRequest("GET", "/").ask(path).status == status { return true }
            Thread.sleep(forTimeInterval: 0.01)
        }
        return false
    }

    @Test func `who does not read a large answer is cut off`() async throws {
        let large = LocalServer.Service(
            answer: { request in
                Answer(200, text: String(repeating: "x", count: request.path == "/" ? 1 : 64 << 20))
            }, refuse: { Answer($0.status, text: "\($0)") })
        var limits = Self.impatient()
        limits.connections = 1
        try await serve(limits, large) { path in
            let client = try UnixClient.connect(path)
            try client.send(TestRequest("GET", "/large").text)
            // Once it comes, nobody else has a place; and then somebody has.
            #expect(try client.receive()?.isEmpty == false)
            #expect(try Self.waitForStatus(200, path))
            #expect(try client.receiveAll().count < 64 << 20)
        }
    }

    @Test(.requiresKernel) func `only root may speak`() async throws {
        try await serve { path in
            let error = #expect(throws: KernelError.self) {
                _ = try asOwner(.application) { () throws(KernelError) in
                    try UnixClient.connect(path)
                }
            }
            #expect(error?.errno == .permissionDenied)
            // The mode is one guard; the kernel's word about who connected is another.
            try FileManager.default.setAttributes([.posixPermissions: 0o666], ofItemAtPath: path)
            let stranger = try asOwner(.application) { () throws(KernelError) in
                try UnixClient.connect(path)
            }
            try stranger.send(TestRequest("GET", "/").text)
            let reply = try stranger.reply()
            #expect(reply.status == 403)
            #expect(reply.text.contains("user 10001"))
        }
    }

    @Test func `a stream comes piece by piece, and ends with its client or its server`()
        async throws
    {
        let (pieces, source) = AsyncStream<[UInt8]>.makeStream()
        let isOver = Mutex(false)
        source.onTermination = { _ in isOver.withLock { $0 = true } }
        let service = LocalServer.Service(
            answer: { _ in Answer(200, "text/plain", .stream(pieces)) },
            refuse: { Answer($0.status, text: "\($0)") })
        try await serve(Limits(), service) { path in
            let client = try UnixClient.connect(path)
            try client.send(TestRequest("GET", "/").text)
            var received = ""
            for word in ["one", "two", "three"] {
                source.yield(Array(word.utf8))
                while !received.contains(word), let bytes = try client.receive(), !bytes.isEmpty {
                    received += String(decoding: bytes, as: UTF8.self)
                }
                #expect(received.contains(word))
            }
            try client.finishSending()
            #expect(try client.receiveAll().isEmpty)
        }
        for _ in 0..<3000 where !isOver.withLock({ $0 }) {
            try await Task.sleep(for: .milliseconds(10))
        }
        #expect(isOver.withLock { $0 })
    }

    @Test func `a server that stops answers what has been asked`() async throws {
        let path = TemporaryFile()
        let (asked, ask) = AsyncStream<Void>.makeStream()
        let (go, release) = AsyncStream<Void>.makeStream()
        let server = try await LocalServer.start(
            at: path.path,
            LocalServer.Service(
                answer: { _ in
                    ask.yield()
                    for await _ in go { break }
                    return Answer(200, text: "late")
                }, refuse: { Answer($0.status, text: "\($0)") }))
        async let reply = onThread { [path = path.path] in try TestRequest("GET", "/").ask(path) }
        for await _ in asked { break }
        async let stopped: Void = server.stop(grace: .seconds(30))
        for _ in 0..<3000 where FileManager.default.fileExists(atPath: path.path) {
            try await Task.sleep(for: .milliseconds(10))
        }
        release.yield()
        #expect(try await reply.text == "late")
        await stopped
    }
}

/// A connection that is there for as long as this is.
private final class SharedClient: Sendable {
    let client: UnixClient

    init(_ path: String, _ beginning: String) throws {
        client = try UnixClient.connect(path)
        try client.send(beginning)
    }
}
