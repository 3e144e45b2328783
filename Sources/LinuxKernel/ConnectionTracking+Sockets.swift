// SPDX-License-Identifier: Apache-2.0

internal import CLibMNL
internal import RedirectionModel
internal import SystemPackage

/// What tracking knows, and what the namespace's sockets are: where nothing made the kernel track
/// connections for a while, the two differ.
extension ConnectionTracking {
    /// Makes tracking know what the sockets know, before rules rely on it.
    ///
    /// - A connection that ended unseen is in the table still, as established, for days. A new one
    ///   between the same ports would be taken for it, and rules for new ones would not see it.
    /// - A connection that began unseen is not there. A new one might be translated to its very
    ///   ports, and the sidecar's socket would get both: `ports` are those where that can happen.
    package static func matchSockets(
        in namespace: NetworkNamespace, on ports: Set<UInt16>
    ) throws(KernelError) {
        var tracking = try open(in: namespace)
        let lists: (tracked: [TrackedConnection], sockets: [ConnectedSocket])
        do throws(KernelError) {
            lists = (try tracking.connections(), try ConnectedSocket.all(in: namespace))
        } catch {
            // A kernel that cannot list either has always lived with the difference.
            guard error.saysNoSubsystem else { throw error }
            return
        }
        let tracked = try tracking.living(among: lists.tracked, on: ports)
            .filter { $0.transport == .tcp }
        let sockets = lists.sockets
        var links = try RouteNetlink.open(in: namespace)
        let own = Set(try links.addresses().map(\.address))
        let ends = Set(sockets.map(\.path))
        // The handshake of a SYN cookie has no socket yet.
        for connection in tracked where connection.isEstablished && connection.endsHere(own) {
            if !connection.hasEnd(among: ends) { try tracking.forget(connection) }
        }
        let known = Set(tracked.flatMap(\.paths))
        for socket in sockets where ports.contains(socket.local.port) {
            let path = TrackedConnection.Path(source: socket.remote, destination: socket.local)
            if !known.contains(path) { try tracking.remember(path) }
        }
    }

    /// The TCP connections that NAT has redirected to one of the ports and that have not ended.
    ///
    /// A new one that would share both ends' ports there is given another source port. Those that
    /// have ended would hold theirs for two minutes more, and are forgotten.
    package static func redirected(
        in namespace: NetworkNamespace, to ports: Set<UInt16>
    ) throws(KernelError) -> [TrackedConnection] {
        var tracking = try open(in: namespace)
        return try tracking.living(on: ports).filter {
            $0.transport == .tcp && $0.isRedirected(to: ports)
        }
    }

    /// The connections that have not ended; of those that have, forgets what was redirected to the
    /// ports.
    package mutating func living(on ports: Set<UInt16>) throws(KernelError) -> [TrackedConnection] {
        try living(among: try connections(), on: ports)
    }

    private mutating func living(
        among connections: [TrackedConnection], on ports: Set<UInt16>
    ) throws(KernelError) -> [TrackedConnection] {
        var living: [TrackedConnection] = []
        for connection in connections {
            if connection.isAlive {
                living.append(connection)
            } else if connection.isRedirected(to: ports) {
                try forget(connection)
            }
        }
        return living
    }

    /// Adds an established TCP connection that nothing has been seen of.
    private mutating func remember(_ path: TrackedConnection.Path) throws(KernelError) {
        var message = Self.message(
            IPCTNL_MSG_CT_NEW, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
            family: path.source.address.family.domain)
        message.nest(Int(CTA_TUPLE_ORIG.rawValue)) { path.add(to: &$0, .tcp) }
        message.nest(Int(CTA_TUPLE_REPLY.rawValue)) { path.reversed.add(to: &$0, .tcp) }
        // IPS_SEEN_REPLY, IPS_ASSURED, and IPS_CONFIRMED, which an entry of the table always has.
        message.add(Int(CTA_STATUS.rawValue), UInt32(1 << 1 | 1 << 2 | 1 << 3).bigEndian)
        message.add(Int(CTA_TIMEOUT.rawValue), Self.establishedTimeout.bigEndian)
        message.nest(Int(CTA_PROTOINFO.rawValue)) { info in
            info.nest(Int(CTA_PROTOINFO_TCP.rawValue)) { tcp in
                tcp.add(
                    Int(CTA_PROTOINFO_TCP_STATE.rawValue),
                    [TrackedConnection.State.established.rawValue])
            }
        }
        do throws(KernelError) {
            try socket.request(message, "track \(path.source) to \(path.destination)")
        } catch {
            // By its next packet the kernel has seen it itself.
            guard error.errno == .fileExists else { throw error }
        }
    }

    /// In seconds: five days, the kernel's own.
    private static let establishedTimeout: UInt32 = 432_000
}

extension TrackedConnection {
    /// Whether one of the sockets, `ConnectedSocket.ends`, is at either end of it.
    package func hasEnd(among sockets: Set<Path>) -> Bool {
        paths.contains(where: sockets.contains)
    }

    /// As whom sockets at either end see it, whether or not it is translated.
    fileprivate var paths: [Path] {
        [original, original.reversed, reply, reply.reversed]
    }

    /// Whether it went to one of these ports instead of where it was going.
    package func isRedirected(to ports: Set<UInt16>) -> Bool {
        isRedirected && ports.contains(reply.source.port)
    }

    /// Whether one of its ends is a socket of the namespace with these addresses; the other
    /// connections are only routed here.
    fileprivate func endsHere(_ own: Set<IPAddress>) -> Bool {
        [original.source.address, reply.source.address].contains {
            $0.isLoopback || own.contains($0)
        }
    }
}

extension TrackedConnection.Path {
    fileprivate var reversed: Self { Self(source: destination, destination: source) }
}

extension ConnectedSocket {
    fileprivate var path: TrackedConnection.Path {
        TrackedConnection.Path(source: local, destination: remote)
    }

    /// The connections that the namespace's sockets are, each as its socket sees it.
    package static func ends(
        in namespace: NetworkNamespace
    ) throws(KernelError) -> Set<TrackedConnection.Path> {
        Set(try all(in: namespace).map(\.path))
    }
}
