// SPDX-License-Identifier: Apache-2.0

internal import LiveChannels
internal import NIOCore
package import NIOPosix
internal import RedirectionModel

/// The reference sidecar: takes what was redirected to it and carries it to where it was going.
///
/// Outbound that is the origin itself; inbound it is the application, at loopback on the
/// origin's port.
package final class SidecarProxy: Sendable {
    package struct Configuration: Sendable {
        package var pod: String
        package var outboundPort: UInt16
        package var inboundPort: UInt16
        /// Where to listen; `nil` is every address of both families.
        package var host: String?

        package init(
            pod: String, outboundPort: UInt16, inboundPort: UInt16, host: String? = nil
        ) {
            self.pod = pod
            self.outboundPort = outboundPort
            self.inboundPort = inboundPort
            self.host = host
        }
    }

    private let listeners: [any Channel]
    private let live: LiveChannels
    /// The ports it really listens on, for a configuration that asked for port 0.
    package let outboundPort: UInt16
    package let inboundPort: UInt16

    private init(outbound: any Channel, inbound: any Channel, live: LiveChannels) {
        listeners = [outbound, inbound]
        self.live = live
        outboundPort = Listener.port(of: outbound)
        inboundPort = Listener.port(of: inbound)
    }

    /// Listens, and serves until `stop`.
    package static func start(
        _ configuration: Configuration, recorder: ConnectionRecorder,
        on group: MultiThreadedEventLoopGroup = .singleton,
        origin: @escaping OriginLookup = OriginalDestination.askKernel
    ) async throws -> SidecarProxy {
        let live = LiveChannels()
        let ports = OwnPorts()
        let listen = { (role: ConnectionRecord.Role, port: UInt16) async throws in
            let server = AcceptedConnection.Server(
                role: role, pod: configuration.pod, ownPorts: ports, recorder: recorder,
                origin: origin)
            let bootstrap = Listener.bootstrap(on: group)
                .childChannelOption(.autoRead, value: false)
                .childChannelOption(.allowRemoteHalfClosure, value: true)
                .childChannelInitializer { channel in
                    live.insert(channel)
                    return channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(AcceptedConnection(server))
                    }
                }
            let listener = try await Listener.bind(bootstrap, configuration.host, port)
            ports.insert(Listener.port(of: listener))
            return listener
        }
        let outbound = try await listen(.outbound, configuration.outboundPort)
        let inbound = try await listen(.inbound, configuration.inboundPort)
        return SidecarProxy(outbound: outbound, inbound: inbound, live: live)
    }

    /// Stops listening, lets live connections end for at most `grace`, then cuts them.
    package func stop(grace: Duration) async {
        for listener in listeners { try? await listener.close() }
        await live.drain(grace: grace)
    }
}

/// Listening sockets as the lab's servers want them.
enum Listener {
    static func bootstrap(on group: MultiThreadedEventLoopGroup) -> ServerBootstrap {
        ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 4096)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
    }

    /// The port it really listens on.
    static func port(of listener: any Channel) -> UInt16 {
        UInt16(truncatingIfNeeded: listener.localAddress?.port ?? 0)
    }

    /// Binds to `host`, or to every address: of both families where there is IPv6 at all.
    static func bind(
        _ bootstrap: ServerBootstrap, _ host: String?, _ port: UInt16
    ) async throws -> any Channel {
        if let host { return try await bootstrap.bind(host: host, port: Int(port)).get() }
        do {
            return try await bootstrap.bind(host: "::", port: Int(port)).get()
        } catch let error as IOError where [95, 97, 99].contains(error.errnoCode) {
            // EOPNOTSUPP, EAFNOSUPPORT, EADDRNOTAVAIL: a kernel or a namespace without IPv6.
            return try await bootstrap.bind(host: "0.0.0.0", port: Int(port)).get()
        }
    }
}
