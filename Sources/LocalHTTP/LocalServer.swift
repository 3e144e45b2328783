// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import LinuxKernel
internal import LiveChannels
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

#if canImport(Glibc)
internal import Glibc
#endif

/// HTTP/1.1 at a unix socket, for root: one request a connection.
///
/// No client can hold up another: what it sends has a size and a time, and so has what it is sent.
package final class LocalServer: Sendable {
    /// What the requests of a server are given to.
    package struct Service: Sendable {
        let answer: @Sendable (Request) async -> Answer
        let refuse: @Sendable (Refusal) -> Answer

        package init(
            answer: @escaping @Sendable (Request) async -> Answer,
            refuse: @escaping @Sendable (Refusal) -> Answer
        ) {
            self.answer = answer
            self.refuse = refuse
        }
    }

    package enum Failure: Error, Hashable {
        case pathTooLong(String)
        /// Something is at the path that is no socket.
        case occupied(String)
    }

    private let path: String
    private let listener: any Channel
    private let live: LiveChannels

    private init(_ path: String, _ listener: any Channel, _ live: LiveChannels) {
        self.path = path
        self.listener = listener
        self.live = live
    }

    /// Listens at `path`, in the place of a socket that somebody has left there.
    ///
    /// The socket has its mode before it has its name.
    package static func start(
        at path: String, limits: Limits = Limits(), _ service: Service
    ) async throws -> LocalServer {
        let aside = path + Directory.unfinished
        // struct sockaddr_un has 108 bytes, the last of which is zero.
        guard aside.utf8.count < 108 else { throw Failure.pathTooLong(path) }
        let present = try? FileManager.default.attributesOfItem(atPath: path)[.type]
        guard present == nil || present as? FileAttributeType == .typeSocket else {
            throw Failure.occupied(path)
        }
        try FileReplacement.remove(aside)
        let live = LiveChannels()
        let listener = try await bootstrap(live, limits, service)
            .bind(unixDomainSocketPath: aside).get()
        do {
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: aside)
            try FileReplacement.move(aside, to: path)
        } catch {
            try? await listener.close()
            throw error
        }
        return LocalServer(path, listener, live)
    }

    private static func bootstrap(
        _ live: LiveChannels, _ limits: Limits, _ service: Service
    ) -> ServerBootstrap {
        let crowd = LiveChannels()
        return ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.backlog, value: 1024)
            // An answer is due to a client that has said all it has to say, and shut its end.
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                live.insert(channel)
                // Those who are refused for it, and on their way out, take nobody's place.
                let isCrowded = live.count - crowd.count > limits.connections
                if isCrowded { crowd.insert(channel) }
                return PeerCredentials.ask(channel).flatMapThrowing { peer in
                    let refusal: Refusal? =
                        if peer.uid != 0, peer.uid != geteuid() {
                            .stranger(uid: peer.uid)
                        } else if isCrowded {
                            .crowded(limit: limits.connections)
                        } else { nil }
                    let pipeline = channel.pipeline.syncOperations
                    var heads = NIOHTTPDecoderLimitConfiguration()
                    heads.maxHeaderFieldSize = limits.head
                    heads.maxHeaderListSize = limits.head
                    try pipeline.configureHTTPServerPipeline(
                        withPipeliningAssistance: false, withErrorHandling: false,
                        withEncoderConfiguration: HTTPResponseEncoder.Configuration(),
                        withDecoderLimitConfiguration: heads)
                    try pipeline.addHandler(
                        ExchangeHandler(service, limits, from: peer, refusal))
                }
            }
    }

    /// Stops listening, lets what has been asked be answered for at most `grace`.
    package func stop(grace: Duration) async {
        try? FileReplacement.remove(path)
        try? await listener.close()
        await live.drain(grace: grace)
    }
}

extension LocalServer.Failure: CustomStringConvertible {
    package var description: String {
        switch self {
        case .pathTooLong(let path): "\(path) is too long for a socket: 103 bytes are allowed"
        case .occupied(let path):
            "\(path) is there and is no socket: move it away, or give another path"
        }
    }
}
