// SPDX-License-Identifier: Apache-2.0

internal import NIOCore
internal import NIOHTTP1

/// One connection: one request, one answer, and a deadline for either.
final class ExchangeHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private enum Phase {
        case reading
        /// Somebody is at work on the request, for as long as that takes.
        case working
        /// The answer is under way; what the client says still is not listened to.
        case answering
    }

    private let service: LocalServer.Service
    private let limits: Limits
    private let peer: Peer
    /// Why the client is refused, whatever it asks.
    private let refusal: Refusal?
    private var phase = Phase.reading
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []
    private var deadline: Scheduled<Void>?
    /// Whether the client has said all it will say, and whether it has been answered.
    private var hasEnded = false
    private var isAnswered = false
    private var isStreaming = false

    init(
        _ service: LocalServer.Service, _ limits: Limits, from peer: Peer, _ refusal: Refusal?
    ) {
        self.service = service
        self.limits = limits
        self.peer = peer
        self.refusal = refusal
    }

    // MARK: The request

    func channelActive(context: ChannelHandlerContext) {
        let patience = limits.patience
        within(patience, context) { this, context in
            this.refuse(.slow(patience), context)
        }
        if let refusal { refuse(refusal, context) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard phase == .reading else { return }
        switch unwrapInboundIn(data) {
        case .head(let head): begin(head, context)
        case .body(let bytes):
            guard body.count + bytes.readableBytes <= limits.body else {
                return refuse(.tooLarge(limit: limits.body), context)
            }
            body += bytes.readableBytesView
        case .end: work(context)
        }
    }

    private func begin(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        self.head = head
        if let length = head.headers.first(name: "content-length").flatMap(Int.init),
            length > limits.body
        {
            return refuse(.tooLarge(limit: limits.body), context)
        }
        if head.headers[canonicalForm: "expect"].contains("100-continue") {
            let go = HTTPResponseHead(version: head.version, status: .continue)
            context.writeAndFlush(wrapOutboundOut(.head(go)), promise: nil)
        }
    }

    private func work(_ context: ChannelHandlerContext) {
        guard let head else { return }
        phase = .working
        deadline?.cancel()
        let request = Request(head.method.rawValue, head.uri, body: body, from: peer)
        body = []
        let answer = context.eventLoop.makePromise(of: Answer.self)
        answer.completeWithTask { [service] in await service.answer(request) }
        answer.futureResult.assumeIsolated().whenSuccess { self.send($0, context) }
    }

    // MARK: The answer

    private func refuse(_ refusal: Refusal, _ context: ChannelHandlerContext) {
        send(service.refuse(refusal), context)
    }

    private func send(_ answer: Answer, _ context: ChannelHandlerContext) {
        guard phase != .answering else { return }
        phase = .answering
        var headers: HTTPHeaders = ["content-type": answer.type, "connection": "close"]
        for field in answer.fields { headers.add(name: field.name, value: field.value) }
        if case .whole(let bytes) = answer.body {
            headers.add(name: "content-length", value: "\(bytes.count)")
        }
        let response = HTTPResponseHead(
            version: .http1_1, status: HTTPResponseStatus(statusCode: answer.status),
            headers: headers)
        context.write(wrapOutboundOut(.head(response)), promise: nil)
        switch answer.body {
        case .whole(let bytes):
            let isWanted = head?.method != .HEAD
            if isWanted {
                let buffer = ByteBuffer(bytes: bytes)
                context.write(wrapOutboundOut(.body(.byteBuffer(buffer))), promise: nil)
            }
            end(context)
        case .stream(let pieces):
            context.flush()
            isStreaming = true
            pass(on: pieces, context)
        }
    }

    /// Ends the answer, and waits for the client to go, who may still be sending: to close now would
    /// be a reset, and might take the answer with it.
    private func end(_ context: ChannelHandlerContext) {
        within(farewell, context) { _, context in context.close(promise: nil) }
        context.writeAndFlush(wrapOutboundOut(.end(nil))).assumeIsolated().whenComplete { _ in
            self.isAnswered = true
            context.close(mode: self.hasEnded ? .all : .output, promise: nil)
        }
    }

    /// How long a client is waited for that has been answered; not long where others want its place.
    private var farewell: Duration {
        guard case .crowded = refusal else { return limits.patience }
        return min(limits.patience, .seconds(1))
    }

    private func pass(on pieces: AsyncStream<[UInt8]>, _ context: ChannelHandlerContext) {
        let done = context.eventLoop.makePromise(of: Void.self)
        let channel = context.channel
        deadline?.cancel()
        let patience = TimeAmount(limits.patience)
        let task = Task {
            for await piece in pieces {
                let cut = channel.eventLoop.scheduleTask(in: patience) {
                    channel.close(promise: nil)
                }
                defer { cut.cancel() }
                let part = HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(bytes: piece)))
                do { try await channel.writeAndFlush(part) } catch { break }
            }
            done.succeed()
        }
        channel.closeFuture.whenComplete { _ in task.cancel() }
        done.futureResult.assumeIsolated().whenComplete { _ in self.end(context) }
    }

    // MARK: The end

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case ChannelEvent.inputClosed = event else {
            return context.fireUserInboundEventTriggered(event)
        }
        hasEnded = true
        // In the middle of a request nobody is left to be answered; after one somebody may be, but
        // for a stream, which has no end to wait for.
        if phase == .reading || isAnswered || isStreaming { context.close(promise: nil) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        deadline?.cancel()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard !(error is IOError), !(error is ChannelError) else {
            return context.close(promise: nil)
        }
        // What follows nonsense is nonsense: only the first is answered.
        if phase == .reading { refuse(.malformed("\(error)"), context) }
    }

    /// Does something when the time is over, unless another deadline takes the place of this.
    private func within(
        _ patience: Duration, _ context: ChannelHandlerContext,
        _ body: @escaping (ExchangeHandler, ChannelHandlerContext) -> Void
    ) {
        deadline?.cancel()
        deadline = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(patience)) {
            body(self, context)
        }
    }
}
