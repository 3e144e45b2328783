// SPDX-License-Identifier: Apache-2.0

internal import CLibMNL
package import RedirectionModel

/// A TCP socket that is connected, or about to be, as sock_diag(7) lists it.
package struct ConnectedSocket: Hashable, Sendable {
    package let local: Endpoint
    package let remote: Endpoint
    /// `SO_MARK`.
    package let mark: UInt32
    /// Whether it is a handshake that a listener has not got to the end of.
    package let isBeginning: Bool

    /// All those of the namespace, whoever has them; not what only waits to be forgotten.
    package static func all(
        in namespace: NetworkNamespace
    ) throws(KernelError) -> [ConnectedSocket] {
        var netlink = try NetlinkSocket.open(.sockets, in: namespace)
        var sockets: [ConnectedSocket] = []
        for family in AddressFamily.allCases {
            sockets += try netlink.sockets(family, in: states).compactMap(ConnectedSocket.init)
        }
        return sockets
    }

    /// A bit for each of `enum tcp_state`; not TIME_WAIT (6), CLOSE (7), LISTEN (10).
    private static let states: UInt32 = 0x1ffe & ~(1 << 6 | 1 << 7 | 1 << 10)

    /// `TCP_SYN_RECV`, as which the kernel's own kinds of it are all listed.
    private static let synReceived: UInt8 = 3

    private init?(_ reply: [UInt8]) {
        // struct inet_diag_msg, after the header's 16 bytes: family, state, timer, retransmissions,
        // then both ports, both addresses in 16 bytes each, and more; 72 bytes in all.
        guard reply.count >= 16 + 72 else { return nil }
        func port(_ offset: Int) -> UInt16 {
            UInt16(reply[offset]) << 8 | UInt16(reply[offset + 1])
        }
        let size = reply[16] == AddressFamily.ipv4.domain ? 4 : 16
        guard let local = IPAddress(wireBytes: reply[24..<(24 + size)]),
            let remote = IPAddress(wireBytes: reply[40..<(40 + size)])
        else { return nil }
        self.local = Endpoint(local, port(20))
        self.remote = Endpoint(remote, port(22))
        isBeginning = reply[17] == Self.synReceived
        let attributes = reply.netlinkAttributes(from: 16 + 72)
        mark =
            attributes.first { $0.type == Int(INET_DIAG_MARK) }?
            .value.loadInteger(at: 0, as: UInt32.self) ?? 0
    }
}

extension NetlinkSocket {
    /// The TCP sockets in these states, a bit for each, as messages; those of a local port, if it is
    /// not zero.
    fileprivate mutating func sockets(
        _ family: AddressFamily, in states: UInt32, on port: UInt16 = 0
    ) throws(KernelError) -> [[UInt8]] {
        var message = NetlinkMessage(Int(SOCK_DIAG_BY_FAMILY), flags: NLM_F_REQUEST | NLM_F_DUMP)
        var request = inet_diag_req_v2()
        request.sdiag_family = family.domain
        request.sdiag_protocol = 6
        request.idiag_states = states
        request.id.idiag_sport = port.bigEndian
        message.add(header: request)
        return try dump(message, "list \(family) sockets")
    }

    /// The inodes of the sockets that listen on a port.
    mutating func inodes(
        listeningOn port: UInt16, _ family: AddressFamily
    ) throws(KernelError) -> [UInt64] {
        // idiag_inode, the last field of struct inet_diag_msg.
        try sockets(family, in: 1 << 10, on: port).compactMap { reply in
            reply.loadInteger(at: 16 + 68, as: UInt32.self).map { UInt64($0) }
        }
    }
}
