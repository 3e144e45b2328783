// SPDX-License-Identifier: Apache-2.0

internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL
internal import Synchronization

/// A request, whole.
struct TestHTTPRequest: Sendable {
    let method: String
    let target: String
    let fields: [String: String]
    let body: [UInt8]
}

/// Where an answer goes, piece by piece.
struct TestHTTPAnswer: Sendable {
    fileprivate let writer: NIOAsyncChannelOutboundWriter<HTTPServerResponsePart>

    func begin(_ status: Int) async throws {
        let head = HTTPResponseHead(
            version: .http1_1, status: HTTPResponseStatus(statusCode: status),
            headers: ["content-type": "application/json", "transfer-encoding": "chunked"])
        try await writer.write(.head(head))
    }

    func write(_ text: String) async throws {
        try await writer.write(.body(.byteBuffer(ByteBuffer(string: text))))
    }

    func end() async throws { try await writer.write(.end(nil)) }
}

/// HTTP/1.1 behind TLS on loopback.
final class TLSListener: Sendable {
    typealias Service = @Sendable (TestHTTPRequest, TestHTTPAnswer) async throws -> Void
    private typealias Connection = NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart>

    /// Also when it has stopped.
    let port: Int
    private let listener: any Channel
    private let live: Live

    /// Those who are being answered.
    private final class Live: Sendable {
        private let tasks = Mutex<[Task<Void, Never>]?>([])

        func add(_ task: Task<Void, Never>) {
            let isLate = tasks.withLock { tasks in
                tasks?.append(task)
                return tasks == nil
            }
            if isLate { task.cancel() }
        }

        func end() async {
            let all = tasks.withLock { $0.take() ?? [] }
            for task in all { task.cancel() }
            for task in all { await task.value }
        }
    }

    private init(_ listener: any Channel, _ live: Live) {
        port = listener.localAddress?.port ?? 0
        self.listener = listener
        self.live = live
    }

    /// Answers requests until it is stopped; an answer that fails closes its connection.
    static func start(
        _ authority: TestAuthority, port: Int, _ answer: @escaping Service
    ) async throws -> TLSListener {
        let chain = try NIOSSLCertificate.fromPEMFile(authority.certificateFile)
        let key = try NIOSSLPrivateKey(file: authority.keyFile, format: .pem)
        let context = try NIOSSLContext(
            configuration: .makeServerConfiguration(
                certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key)))
        let live = Live()
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(NIOSSLServerHandler(context: context))
                    try pipeline.configureHTTPServerPipeline(
                        withPipeliningAssistance: false, withErrorHandling: false)
                    // From here on it belongs to somebody, also if the listener closes now.
                    let connection = try Connection(wrappingChannelSynchronously: channel)
                    live.add(Task { try? await serve(connection, answer) })
                }
            }
            .bind(host: "127.0.0.1", port: port).get()
        return TLSListener(listener, live)
    }

    /// Closes everything.
    func stop() async {
        try? await listener.close()
        await live.end()
    }

    private static func serve(
        _ connection: Connection, _ answer: @escaping Service
    ) async throws {
        try await connection.executeThenClose { inbound, outbound in
            var head: HTTPRequestHead?
            var body: [UInt8] = []
            for try await part in inbound {
                switch part {
                case .head(let next): (head, body) = (next, [])
                case .body(let piece): body += piece.readableBytesView
                case .end:
                    guard let head else { return }
                    let fields = head.headers.map { ($0.name.lowercased(), $0.value) }
                    let request = TestHTTPRequest(
                        method: head.method.rawValue, target: head.uri,
                        fields: Dictionary(fields) { $1 }, body: body)
                    try await answer(request, TestHTTPAnswer(writer: outbound))
                }
            }
        }
    }
}
