// SPDX-License-Identifier: Apache-2.0

internal import NIOCore

/// Two channels of one event loop joined: what arrives at one leaves by the other.
///
/// Reads are asked for only while the other side can take more, so a slow reader slows its
/// writer and memory stays bounded. An end of stream passes on as an end of stream, whichever
/// side it comes from first; a reset passes on as a reset.
final class Splice {
    enum End: CaseIterable {
        case client
        case origin

        var other: End { self == .client ? .origin : .client }
    }

    private let channels: [End: any Channel]
    private var finished: Set<End> = []
    private var closed: Set<End> = []
    private var moved: [End: Int] = [:]
    private var failure: (any Error)?
    private let completion: (_ sent: Int, _ received: Int, _ failure: (any Error)?) -> Void

    /// Joins the channels; `completion` runs once, when both are closed.
    init(
        client: any Channel, origin: any Channel,
        completion: @escaping (_ sent: Int, _ received: Int, _ failure: (any Error)?) -> Void
    ) {
        channels = [.client: client, .origin: origin]
        self.completion = completion
    }

    /// Starts moving bytes.
    func start() {
        for end in End.allCases {
            guard let channel = channels[end] else { continue }
            do {
                try channel.pipeline.syncOperations.addHandler(SpliceHandler(self, end))
            } catch {
                failure = error
            }
            // A channel that died meanwhile tells no handler any more.
            if channel.isActive { channel.read() } else { becameInactive(end) }
        }
    }

    func forward(_ bytes: ByteBuffer, from end: End) {
        moved[end, default: 0] += bytes.readableBytes
        channels[end.other]?.write(bytes, promise: nil)
    }

    func readComplete(_ end: End) {
        channels[end.other]?.flush()
        readMore(end)
    }

    /// Reads on from `end` if the other side can take it.
    func readMore(_ end: End) {
        guard let target = channels[end.other], target.isWritable, !finished.contains(end) else {
            return
        }
        channels[end]?.read()
    }

    /// Passes an end of stream on, after everything that came before it.
    func reachedEnd(of end: End) {
        finished.insert(end)
        guard let target = channels[end.other] else { return }
        target.writeAndFlush(ByteBuffer()).whenComplete { _ in
            target.close(mode: .output, promise: nil)
        }
    }

    func failed(_ end: End, _ error: any Error) {
        failure = failure ?? error
        channels[end]?.close(promise: nil)
    }

    func becameInactive(_ end: End) {
        guard closed.insert(end).inserted else { return }
        if closed.count == End.allCases.count {
            completion(moved[.client, default: 0], moved[.origin, default: 0], failure)
        } else if finished.contains(end.other), failure == nil {
            // The second of two ends of stream closes the channel, and is told as that alone.
            if !finished.contains(end) { reachedEnd(of: end) }
        } else if let other = channels[end.other] {
            reset(other)
        }
    }

    /// Closes so that the peer sees a reset, as the sidecar did: SO_LINGER, no time to linger.
    private func reset(_ channel: any Channel) {
        let linger = (channel as? any SocketOptionProvider)?.unsafeSetSocketOption(
            level: .socket, name: .so_linger, value: SIMD2<CInt>(1, 0))
        guard let linger else { return channel.close(promise: nil) }
        linger.whenComplete { _ in channel.close(promise: nil) }
    }
}

/// One end's events, handed to the splice.
private final class SpliceHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let splice: Splice
    private let end: Splice.End

    init(_ splice: Splice, _ end: Splice.End) {
        self.splice = splice
        self.end = end
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        splice.forward(unwrapInboundIn(data), from: end)
    }

    func channelReadComplete(context: ChannelHandlerContext) { splice.readComplete(end) }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { splice.readMore(end.other) }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event { splice.reachedEnd(of: end) }
    }

    func channelInactive(context: ChannelHandlerContext) { splice.becameInactive(end) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        splice.failed(end, error)
    }
}
