// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims
package import RedirectionModel

/// A socket with one owner, and a deadline on every call that may block.
package struct Socket: ~Copyable, Sendable {
    package let descriptor: OwnedDescriptor

    package var rawDescriptor: CInt { descriptor.rawValue }

    /// What kind of socket: socket(2)'s type and protocol.
    package struct Kind: Hashable, Sendable {
        let type: CInt
        let `protocol`: CInt
        package static let tcp = Kind(type: 1, protocol: 6)
        package static let udp = Kind(type: 2, protocol: 17)
        /// Multipath TCP (RFC 8684, Linux 5.6).
        package static let mptcp = Kind(type: 1, protocol: 262)

        /// The same kind, but connect(2) and accept(2) do not wait (`SOCK_NONBLOCK`).
        package var nonBlocking: Kind { Kind(type: type | 0o4000, protocol: `protocol`) }
    }

    /// Takes over a descriptor that is a socket.
    package init(taking descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }

    /// Opens a socket whose calls give up after `timeout`.
    package static func open(
        _ kind: Kind, _ family: AddressFamily, timeout: Duration = .seconds(10)
    ) throws(KernelError) -> Socket {
        let domain: CInt = family == .ipv4 ? 2 : 10
        let socket = Socket(
            taking: OwnedDescriptor(
                taking: try kernel("socket(\(family))") {
                    clinux_socket(domain, kind.type, kind.protocol)
                }))
        try socket.setTimeout(timeout)
        return socket
    }

    package func setTimeout(_ timeout: Duration) throws(KernelError) {
        let milliseconds = CInt(timeout / .milliseconds(1))
        try kernel("setsockopt(SO_RCVTIMEO)") {
            clinux_set_timeouts(rawDescriptor, milliseconds)
        }
    }

    /// Binds to `endpoint`; `scope` is the interface index of a link-local address.
    package func bind(_ endpoint: Endpoint, scope: UInt32 = 0) throws(KernelError) {
        try kernel("bind(\(endpoint))") {
            unsafe clinux_bind(rawDescriptor, endpoint.address.bytes, endpoint.port, scope)
        }
    }

    package func listen(backlog: CInt = 4096) throws(KernelError) {
        try kernel("listen") { clinux_listen(rawDescriptor, backlog) }
    }

    package func connect(to endpoint: Endpoint, scope: UInt32 = 0) throws(KernelError) {
        try kernel("connect(\(endpoint))") {
            unsafe clinux_connect(rawDescriptor, endpoint.address.bytes, endpoint.port, scope)
        }
    }

    /// Waits for a connection.
    package func accept(timeout: Duration = .seconds(10)) throws(KernelError) -> Socket {
        var address = [UInt8](repeating: 0, count: 16)
        var port: UInt16 = 0
        let accepted = try kernel("accept") {
            unsafe clinux_accept(rawDescriptor, 0, &address, &port)
        }
        let socket = Socket(taking: OwnedDescriptor(taking: accepted))
        try socket.setTimeout(timeout)
        return socket
    }

    /// getsockname(2).
    package func localEndpoint() throws(KernelError) -> Endpoint {
        var address = [UInt8](repeating: 0, count: 16)
        var port: UInt16 = 0
        try kernel("getsockname") { unsafe clinux_local_name(rawDescriptor, &address, &port) }
        return endpoint(address, port)
    }

    /// getpeername(2).
    package func peerEndpoint() throws(KernelError) -> Endpoint {
        var address = [UInt8](repeating: 0, count: 16)
        var port: UInt16 = 0
        try kernel("getpeername") { unsafe clinux_peer_name(rawDescriptor, &address, &port) }
        return endpoint(address, port)
    }

    private func endpoint(_ bytes: [UInt8], _ port: UInt16) -> Endpoint {
        guard let address = IPAddress(bytes: bytes) else { preconditionFailure("16 bytes") }
        return Endpoint(address, port)
    }

    /// shutdown(2) of the sending side: the peer reads to the end and then sees EOF.
    package func finishSending() throws(KernelError) {
        try kernel("shutdown(SHUT_WR)") { clinux_shutdown(rawDescriptor, 1) }
    }
}

extension Socket {
    /// An option's level and name, as in getsockopt(2).
    package struct Option: Hashable, Sendable {
        package let level: CInt
        package let name: CInt

        package init(level: CInt, name: CInt) {
            self.level = level
            self.name = name
        }

        package static let reuseAddress = Option(level: 1, name: 2)
        package static let reusePort = Option(level: 1, name: 15)
        package static let ipv6Only = Option(level: 41, name: 26)
        /// `SO_LINGER`; with a zero time, close(2) sends RST.
        package static let linger = Option(level: 1, name: 13)
        /// `SO_MARK`: what routing and rules may tell the socket's packets by.
        package static let mark = Option(level: 1, name: 36)
        /// `IP_TRANSPARENT`: local addresses need not be the machine's own.
        package static let transparent4 = Option(level: 0, name: 19)
        /// `IPV6_TRANSPARENT`.
        package static let transparent6 = Option(level: 41, name: 75)
        /// `SO_ORIGINAL_DST`, linux/netfilter_ipv4.h.
        package static let originalDestination4 = Option(level: 0, name: 80)
        /// `IP6T_SO_ORIGINAL_DST`, linux/netfilter_ipv6/ip6_tables.h.
        package static let originalDestination6 = Option(level: 41, name: 80)
    }

    package func set(_ option: Option, to value: CInt) throws(KernelError) {
        var value = value
        try kernel("setsockopt(\(option.level), \(option.name))") {
            unsafe clinux_setsockopt(rawDescriptor, option.level, option.name, &value, 4)
        }
    }

    /// Sets an option that is more than a number.
    package func set(_ option: Option, to bytes: [UInt8]) throws(KernelError) {
        try kernel("setsockopt(\(option.level), \(option.name))") {
            unsafe clinux_setsockopt(
                rawDescriptor, option.level, option.name, bytes, UInt32(bytes.count))
        }
    }

    /// Makes close(2) reset the connection: `SO_LINGER` with no time to linger.
    package func resetOnClose() throws(KernelError) {
        var value: [CInt] = [1, 0]
        try kernel("setsockopt(SO_LINGER)") {
            unsafe clinux_setsockopt(rawDescriptor, 1, 13, &value, 8)
        }
    }

    /// Asks getsockopt(2) for `length` bytes and returns what came back, cut to what was filled.
    package func value(of option: Option, length: Int) throws(KernelError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: length)
        var size = UInt32(length)
        try kernel("getsockopt(\(option.level), \(option.name))") {
            unsafe clinux_getsockopt(rawDescriptor, option.level, option.name, &bytes, &size)
        }
        return Array(bytes.prefix(Int(size)))
    }

    /// Where the accepted connection was really going, as a sidecar asks for it.
    package func originalDestination(_ family: AddressFamily) throws(KernelError) -> Endpoint {
        switch family {
        case .ipv4:
            // struct sockaddr_in: family, port, address.
            let name = try value(of: .originalDestination4, length: 16)
            let address = name[4..<8].reduce(0) { $0 << 8 | UInt32($1) }
            return Endpoint(IPAddress(ipv4: address), UInt16(name[2]) << 8 | UInt16(name[3]))
        case .ipv6:
            // struct sockaddr_in6: family, port, flow information, address, scope.
            let name = try value(of: .originalDestination6, length: 28)
            return endpoint(Array(name[8..<24]), UInt16(name[2]) << 8 | UInt16(name[3]))
        }
    }

    /// Writes all of `text`.
    package func send(_ text: String) throws(KernelError) { try descriptor.write(text) }

    /// Reads until the peer has finished sending.
    package func receiveAll() throws(KernelError) -> String {
        String(decoding: try descriptor.readAll(), as: UTF8.self)
    }
}
