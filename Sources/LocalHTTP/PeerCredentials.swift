// SPDX-License-Identifier: Apache-2.0

internal import NIOCore

enum PeerCredentials {
    /// `SO_PEERCRED`, socket(7).
    private static let option = NIOBSDSocket.Option(rawValue: 17)

    struct NotASocket: Error {}

    /// Who connected; the kernel has written it down at connect(2).
    static func ask(_ channel: any Channel) -> EventLoopFuture<Peer> {
        guard let socket = channel as? any SocketOptionProvider else {
            return channel.eventLoop.makeFailedFuture(NotASocket())
        }
        // struct ucred: pid, uid, gid.
        let answer: EventLoopFuture<SIMD4<UInt32>> = socket.unsafeGetSocketOption(
            level: .socket, name: option)
        return answer.map { Peer(pid: $0[0], uid: $0[1]) }
    }
}
