// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
package import NIOCore
package import RedirectionModel

/// Asks for the true destination of an accepted connection.
package typealias OriginLookup = @Sendable (any Channel) -> EventLoopFuture<Endpoint>

/// How the kernel is asked where a redirected connection was going.
package enum OriginalDestination {
    /// `SO_ORIGINAL_DST` and `IP6T_SO_ORIGINAL_DST`: the same number at two levels.
    private static let option = NIOBSDSocket.Option(rawValue: 80)

    /// Asks at the level of the connection's own family.
    ///
    /// On a dual-stack listener every socket is an IPv6 one, and a connection that came by IPv4
    /// has an IPv4-mapped peer: such a connection's origin is known at `SOL_IP` only.
    @Sendable package static func askKernel(_ channel: any Channel) -> EventLoopFuture<Endpoint> {
        guard let socket = channel as? any SocketOptionProvider,
            let peer = channel.remoteAddress.flatMap(Endpoint.init)
        else { return channel.eventLoop.makeFailedFuture(NoOrigin.notASocket) }
        switch peer.address.family {
        case .ipv4:
            let name: EventLoopFuture<SIMD16<UInt8>> = socket.unsafeGetSocketOption(
                level: .ip, name: option)
            return name.flatMapThrowing { try endpoint(fromIPv4: $0) }
        case .ipv6:
            let name: EventLoopFuture<SIMD32<UInt8>> = socket.unsafeGetSocketOption(
                level: .ipv6, name: option)
            return name.flatMapThrowing { try endpoint(fromIPv6: $0) }
        }
    }

    /// Reads a `struct sockaddr_in`: family, port, address.
    static func endpoint(fromIPv4 name: SIMD16<UInt8>) throws(NoOrigin) -> Endpoint {
        guard let address = IPAddress(wireBytes: (4..<8).map { name[$0] }) else {
            throw .notAnAddress
        }
        return try checked(Endpoint(address, UInt16(name[2]) << 8 | UInt16(name[3])))
    }

    /// Reads a `struct sockaddr_in6`: family, port, flow information, address, scope.
    static func endpoint(fromIPv6 name: SIMD32<UInt8>) throws(NoOrigin) -> Endpoint {
        guard let address = IPAddress(wireBytes: (8..<24).map { name[$0] }) else {
            throw .notAnAddress
        }
        return try checked(Endpoint(address, UInt16(name[2]) << 8 | UInt16(name[3])))
    }

    private static func checked(_ endpoint: Endpoint) throws(NoOrigin) -> Endpoint {
        guard endpoint.port != 0 else { throw .notAnAddress }
        return endpoint
    }
}

/// Why a connection has no origin to go on to.
enum NoOrigin: Error, Hashable, CustomStringConvertible {
    case notASocket
    case notAnAddress
    /// The origin is the sidecar itself: going there would come back here, for ever.
    case isSidecar(Endpoint)

    var description: String {
        switch self {
        case .notASocket: "the connection is not a socket"
        case .notAnAddress: "the kernel's answer to SO_ORIGINAL_DST is not an address"
        case .isSidecar(let origin): "the origin \(origin) is this sidecar: a loop"
        }
    }
}

extension Endpoint {
    /// An address of NIO's, IPv4-mapped ones as IPv4.
    init?(_ address: SocketAddress) {
        guard let text = address.ipAddress, let port = address.port,
            let ip = IPAddress(text)
        else { return nil }
        self.init(ip, UInt16(truncatingIfNeeded: port))
    }

    var socketAddress: SocketAddress {
        get throws { try SocketAddress(ipAddress: "\(address)", port: Int(port)) }
    }
}
