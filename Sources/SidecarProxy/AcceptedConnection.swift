// SPDX-License-Identifier: Apache-2.0

internal import NIOCore
internal import NIOPosix
internal import RedirectionModel
internal import Synchronization

/// The ports a sidecar listens on, known once it does.
final class OwnPorts: Sendable {
    private let ports = Mutex<Set<UInt16>>([])

    func insert(_ port: UInt16) { ports.withLock { _ = $0.insert(port) } }
    func contains(_ port: UInt16) -> Bool { ports.withLock { $0.contains(port) } }
}

/// From accept(2) to the splice: finds the origin, decides where to go, connects.
final class AcceptedConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    /// What all connections of one listener share.
    struct Server: Sendable {
        let role: ConnectionRecord.Role
        let pod: String
        let ownPorts: OwnPorts
        let recorder: ConnectionRecorder
        let origin: OriginLookup

        /// Where a connection with this origin goes on to, accepted at `local` from `peer`.
        func target(
            of origin: Endpoint, acceptedAt local: Endpoint?, from peer: Endpoint?
        ) throws(NoOrigin) -> Endpoint {
            // A port of ours at an address of ours: loopback, the one that was dialed, or the
            // one that a process of this pod dialed from.
            let own = [local?.address, role == .outbound ? peer?.address : nil]
            if ownPorts.contains(origin.port),
                origin.address.isLoopback || own.contains(origin.address)
            {
                throw .isSidecar(origin)
            }
            guard role == .inbound else { return origin }
            return Endpoint(.loopback(origin.address.family), origin.port)
        }
    }

    private let server: Server
    private var record: ConnectionRecord
    /// What came before there was anywhere to send it; `nil` once the splice is in place.
    ///
    /// NIO reads on its own, to the end, when the peer finishes sending.
    private var early: (bytes: [ByteBuffer], isEnd: Bool)? = ([], false)

    init(_ server: Server) {
        self.server = server
        record = ConnectionRecord(server.role, pod: server.pod, peer: nil)
    }

    func channelActive(context: ChannelHandlerContext) {
        let client = context.channel
        let this = NIOLoopBound(self, eventLoop: context.eventLoop)
        record.peer = client.remoteAddress.flatMap(Endpoint.init)
        server.origin(client).hop(to: context.eventLoop)
            .flatMap { this.value.connect(client, to: $0) }
            .whenComplete { this.value.join(client, $0) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard early != nil else { return context.fireChannelRead(data) }
        early?.bytes.append(unwrapInboundIn(data))
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if early != nil, case ChannelEvent.inputClosed = event { early?.isEnd = true }
        context.fireUserInboundEventTriggered(event)
    }

    private func connect(
        _ client: any Channel, to origin: Endpoint
    ) -> EventLoopFuture<any Channel> {
        record.origin = origin
        do {
            let local = client.localAddress.flatMap(Endpoint.init)
            let target = try server.target(of: origin, acceptedAt: local, from: record.peer)
            record.connectedTo = target
            return try ClientBootstrap(group: client.eventLoop)
                .channelOption(.autoRead, value: false)
                .channelOption(.allowRemoteHalfClosure, value: true)
                .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                .connect(to: target.socketAddress)
        } catch {
            return client.eventLoop.makeFailedFuture(error)
        }
    }

    private func join(_ client: any Channel, _ outcome: Result<any Channel, any Error>) {
        switch outcome {
        case .success(let upstream):
            record.connectedFrom = upstream.localAddress.flatMap(Endpoint.init)
            let splice = Splice(client: client, origin: upstream) { sent, received, failure in
                self.record.sent = sent
                self.record.received = received
                self.finish(failure)
            }
            let early = early.take()
            splice.start()
            early?.bytes.forEach { splice.forward($0, from: .client) }
            splice.readComplete(.client)
            if early?.isEnd == true { splice.reachedEnd(of: .client) }
        case .failure(let error):
            client.close(promise: nil)
            finish(error)
        }
    }

    private func finish(_ failure: (any Error)?) {
        record.error = failure.map { "\($0)" }
        server.recorder.write(record)
    }
}
