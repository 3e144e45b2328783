// SPDX-License-Identifier: Apache-2.0

internal import LiveChannels
internal import NIOCore
internal import NIOHTTP1
package import NIOPosix
internal import RedirectionModel

/// The demo's application: says who it is, and records whom it was talking to.
package final class GreetingServer: Sendable {
    private let listener: any Channel
    private let live: LiveChannels
    /// The port it really listens on.
    package var port: UInt16 { Listener.port(of: listener) }

    private init(_ listener: any Channel, _ live: LiveChannels) {
        self.listener = listener
        self.live = live
    }

    /// Answers `Hi, I am <name> !` to every request.
    package static func start(
        name: String, pod: String, port: UInt16, host: String? = nil,
        recorder: ConnectionRecorder, on group: MultiThreadedEventLoopGroup = .singleton
    ) async throws -> GreetingServer {
        let live = LiveChannels()
        let bootstrap = Listener.bootstrap(on: group).childChannelInitializer { channel in
            live.insert(channel)
            return channel.eventLoop.makeCompletedFuture {
                let pipeline = channel.pipeline.syncOperations
                try pipeline.configureHTTPServerPipeline(withErrorHandling: true)
                try pipeline.addHandler(GreetingHandler(name: name, pod: pod, recorder))
            }
        }
        return GreetingServer(try await Listener.bind(bootstrap, host, port), live)
    }

    package func stop(grace: Duration) async {
        try? await listener.close()
        await live.drain(grace: grace)
    }
}

private final class GreetingHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let name: String
    private let pod: String
    private let recorder: ConnectionRecorder
    private var keepsAlive = true

    init(name: String, pod: String, _ recorder: ConnectionRecorder) {
        self.name = name
        self.pod = pod
        self.recorder = recorder
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): keepsAlive = head.isKeepAlive
        case .body: break
        case .end: greet(context)
        }
    }

    private func greet(_ context: ChannelHandlerContext) {
        let peer = context.channel.remoteAddress.flatMap(Endpoint.init)
        let body = ByteBuffer(string: "Hi, I am \(name) !\n")
        // Before the answer: whoever has read it finds the record.
        var record = ConnectionRecord(.app, pod: pod, peer: peer)
        record.sent = body.readableBytes
        recorder.write(record)

        let headers: HTTPHeaders = [
            "content-type": "text/plain; charset=utf-8", "content-length": "\(body.readableBytes)",
            "connection": keepsAlive ? "keep-alive" : "close",
            "x-peer": peer.map { "\($0)" } ?? "unknown",
        ]
        let head = HTTPResponseHead(version: .http1_1, status: .ok, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
        let closes = !keepsAlive
        let channel = context.channel
        context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in
            if closes { channel.close(promise: nil) }
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
