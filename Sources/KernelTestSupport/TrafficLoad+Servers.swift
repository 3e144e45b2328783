// SPDX-License-Identifier: Apache-2.0

internal import Foundation
internal import LinuxKernel
internal import RedirectionModel

/// The far ends, and the sidecar between them.
extension TrafficLoad {
    /// How many threads listen: servers and sidecar, for two ports, two families, two at a time.
    static let serverThreads = 16

    func startServers() throws {
        for direction in Direction.allCases {
            let place = direction == .outbound ? pod.peer : pod.namespace
            for family in AddressFamily.allCases {
                let lasting = try place.listen(family, Self.lastingPort, as: .application)
                try accept(lasting, direction) { self.echo($0, direction) }
                let probes = try place.listen(family, Self.probePort, as: .application)
                try accept(probes, direction) { client in
                    // Whoever comes here has not met the sidecar.
                    try? client.socket.send(Self.direct + "\n")
                    _ = try? client.socket.receiveAll()
                }
            }
        }
    }

    func startSidecar() throws {
        for direction in Direction.allCases {
            for family in AddressFamily.allCases {
                let port: UInt16 = direction == .outbound ? 15001 : 15003
                let socket = try pod.namespace.listen(family, port, as: .sidecar)
                if settings.transparentMark != nil, direction == .inbound {
                    try socket.set(Self.transparent(family), to: 1)
                }
                let listener = SharedSocket(socket)
                for _ in 0..<2 {
                    try accept(listener, direction) { client in
                        self.serve(client, direction, family)
                    }
                }
            }
        }
    }

    private func accept(
        _ listener: consuming Socket, _ direction: Direction,
        _ body: @escaping @Sendable (SharedSocket) -> Void
    ) throws {
        try accept(SharedSocket(listener), direction, body)
    }

    /// Accepts until all is over.
    private func accept(
        _ listener: SharedSocket, _ direction: Direction,
        _ body: @escaping @Sendable (SharedSocket) -> Void
    ) throws {
        try listener.socket.setTimeout(.milliseconds(200))
        thread(direction) { () throws(KernelError) in
            while !self.isOver {
                guard let client = try listener.accept(timeout: self.settings.patience) else {
                    continue
                }
                body(SharedSocket(client))
            }
        }
    }

    // MARK: The server

    /// Says who has introduced the client, then sends every byte back, twisted.
    private func echo(_ client: SharedSocket, _ direction: Direction) {
        thread(direction) { () throws(KernelError) in
            try self.echo(client.socket)
        }
    }

    private func echo(_ socket: borrowing Socket) throws(KernelError) {
        let first = try Self.read(1, from: socket)
        // A sidecar's introduction begins with a `v`, the client's greeting does not.
        let isIntroduced = first == [UInt8(ascii: "v")]
        let introduction = isIntroduced ? "v" + (try line(from: socket)) : Self.direct
        _ = try Self.read(Self.greeting.utf8.count - (isIntroduced ? 0 : 1), from: socket)
        try socket.send(introduction + "\n")
        while try waits(for: socket) {
            let block = try socket.descriptor.read(upTo: 65536)
            if block.isEmpty { return try socket.finishSending() }
            try socket.descriptor.write(block.map { $0 ^ Self.twist })
        }
    }

    /// Waits for input for as long as there is traffic; an idle connection may be silent for long.
    private func waits(for socket: borrowing Socket) throws(KernelError) -> Bool {
        while try !socket.descriptor.waitForInput(.milliseconds(500)) {
            if isOver { return false }
        }
        return true
    }

    private static func read(
        _ count: Int, from socket: borrowing Socket
    ) throws(KernelError) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let part = try socket.descriptor.read(upTo: count - bytes.count)
            if part.isEmpty { return bytes }
            bytes += part
        }
        return bytes
    }

    // MARK: The sidecar

    private func serve(
        _ client: SharedSocket, _ direction: Direction, _ family: AddressFamily
    ) {
        do throws(KernelError) {
            let isTransparent = settings.transparentMark != nil && direction == .inbound
            let origin =
                isTransparent
                ? try client.socket.localEndpoint()
                : try client.socket.originalDestination(family)
            guard origin.port == Self.lastingPort else {
                try client.socket.send("via \(direction) \(origin)\n")
                _ = try client.socket.receiveAll()
                return
            }
            thread(direction) { () throws(KernelError) in
                try self.relay(client.socket, direction, origin)
            }
        } catch {
            note(Fault(error), direction, "the sidecar, of a connection it accepted: \(error)")
        }
    }

    private func relay(
        _ client: borrowing Socket, _ direction: Direction, _ origin: Endpoint
    ) throws(KernelError) {
        let upstream = try upstream(of: client, direction, origin)
        try upstream.send("via \(direction) \(origin)\n")
        try relay(client, upstream)
    }

    /// The sidecar's own connection: to the origin, or to the application here.
    private func upstream(
        of client: borrowing Socket, _ direction: Direction, _ origin: Endpoint
    ) throws(KernelError) -> Socket {
        let family = origin.address.family
        let place = pod.namespace
        return try place.run { () throws(KernelError) in
            let socket = try asOwner(.sidecar) { () throws(KernelError) in
                try Socket.open(.tcp, family, timeout: settings.patience)
            }
            var destination = origin
            if direction == .inbound, let mark = settings.transparentMark {
                try socket.set(Self.transparent(family), to: 1)
                try socket.set(.mark, to: CInt(bitPattern: mark))
                try socket.bind(Endpoint(try client.peerEndpoint().address, 0))
            } else if direction == .inbound {
                destination = Endpoint(.loopback(family), origin.port)
            }
            // To programs by attachment, the owner is who connects.
            try asOwner(.sidecar) { () throws(KernelError) in try socket.connect(to: destination) }
            return socket
        }
    }

    private static func transparent(_ family: AddressFamily) -> Socket.Option {
        family == .ipv4 ? .transparent4 : .transparent6
    }

    /// Hands on what comes from either, until both have finished.
    private func relay(
        _ client: borrowing Socket, _ upstream: borrowing Socket
    ) throws(KernelError) {
        var isDone = (client: false, upstream: false)
        while !isDone.client || !isDone.upstream, !isOver {
            let open =
                (isDone.client ? [] : [client.rawDescriptor])
                + (isDone.upstream ? [] : [upstream.rawDescriptor])
            guard let ready = try firstWithInput(open, within: .milliseconds(500)) else { continue }
            if open[ready] == client.rawDescriptor {
                isDone.client = try Self.handOn(client, upstream)
            } else {
                isDone.upstream = try Self.handOn(upstream, client)
            }
        }
    }

    /// Returns whether that was the end.
    private static func handOn(
        _ source: borrowing Socket, _ sink: borrowing Socket
    ) throws(KernelError) -> Bool {
        let bytes = try source.descriptor.read(upTo: 65536)
        if bytes.isEmpty {
            try sink.finishSending()
            return true
        }
        try sink.descriptor.write(bytes)
        return false
    }
}
