// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims
package import RedirectionModel
internal import SystemPackage

/// A datagram with both its ends.
package struct Datagram: Sendable {
    package let bytes: [UInt8]
    package let peer: Endpoint
    /// The address it was sent to, where the socket asks for it; unspecified elsewhere.
    package let local: IPAddress
}

extension Socket.Option {
    /// `IPV6_RECVPKTINFO`: datagrams come with the address they were sent to.
    package static let receivePacketInfo = Socket.Option(level: 41, name: 49)
}

extension Socket {
    /// Waits for a datagram; an IPv6 socket with `receivePacketInfo` learns where it was sent.
    package func receiveDatagram(upTo size: Int = 2048) throws(KernelError) -> Datagram {
        var bytes = [UInt8](repeating: 0, count: size)
        var peer = [UInt8](repeating: 0, count: 16)
        var local = peer
        var port: UInt16 = 0
        let count = try kernel("recvmsg") {
            unsafe clinux_receive(rawDescriptor, &bytes, size, &peer, &port, &local)
        }
        guard let from = IPAddress(bytes: peer), let to = IPAddress(bytes: local) else {
            preconditionFailure("16 bytes")
        }
        return Datagram(bytes: Array(bytes.prefix(count)), peer: Endpoint(from, port), local: to)
    }

    /// Sends one datagram; only an IPv6 socket can choose `source`.
    package func send(
        _ bytes: [UInt8], to peer: Endpoint, from source: IPAddress? = nil
    ) throws(KernelError) {
        let local = source?.bytes
        try kernel("sendmsg(\(peer))") {
            unsafe clinux_send(
                rawDescriptor, bytes, bytes.count, peer.address.bytes, peer.port, local)
        }
    }

    /// Waits until connect(2) of a socket that does not block is over; false on timeout.
    package func waitUntilWritable(_ limit: Duration) throws(KernelError) -> Bool {
        try kernel("poll") {
            var descriptor = rawDescriptor
            return unsafe clinux_poll_first(&descriptor, 1, clinux_output, limit.milliseconds)
        } != 0
    }
}

/// Waits until one of some descriptors has input; the index of the first that has.
package func firstWithInput(
    _ descriptors: [CInt], within limit: Duration
) throws(KernelError) -> Int? {
    let result = try kernel("poll") {
        unsafe clinux_poll_first(
            descriptors, descriptors.count, clinux_input, limit.milliseconds)
    }
    return result == 0 ? nil : Int(result) - 1
}

extension Duration {
    /// What poll(2) takes: whole milliseconds, no wait cut to none.
    fileprivate var milliseconds: CInt {
        CInt(min(max((self / .milliseconds(1)).rounded(.up), 0), Double(CInt.max)))
    }
}
