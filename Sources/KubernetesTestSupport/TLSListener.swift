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
struct TLSListener: Sendable {
    private typealias Connection = NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart>

    private let listener: NIOAsyncChannel<Connection, Never>

    var port: Int { listener.channel.localAddress?.port ?? 0 }

    static func bind(_ authority: TestAuthority, port: Int) async throws -> TLSListener {
        let chain = try NIOSSLCertificate.fromPEMFile(authority.certificateFile)
        let key = try NIOSSLPrivateKey(file: authority.keyFile, format: .pem)
        let context = try NIOSSLContext(
            configuration: .makeServerConfiguration(
                certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key)))
        return TLSListener(
            listener: try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .bind(host: "127.0.0.1", port: port) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let pipeline = channel.pipeline.syncOperations
                        try pipeline.addHandler(NIOSSLServerHandler(context: context))
                        try pipeline.configureHTTPServerPipeline(
                            withPipeliningAssistance: false, withErrorHandling: false)
                        return try Connection(wrappingChannelSynchronously: channel)
                    }
                })
    }

    /// Answers requests until the task is canceled; one that ends with an error closes its connection.
    func serve(
        _ answer: @escaping @Sendable (TestHTTPRequest, TestHTTPAnswer) async throws -> Void
    ) async {
        try? await listener.executeThenClose { connections in
            try await withThrowingDiscardingTaskGroup { group in
                for try await connection in connections {
                    group.addTask { try? await Self.serve(connection, answer) }
                }
            }
        }
    }

    private static func serve(
        _ connection: Connection,
        _ answer: @escaping @Sendable (TestHTTPRequest, TestHTTPAnswer) async throws -> Void
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
