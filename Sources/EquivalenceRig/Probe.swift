// SPDX-License-Identifier: Apache-2.0

internal import Equivalence
internal import KernelTestSupport
internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel
internal import SystemPackage

/// Makes one attempt and watches who gets it.
struct Probe {
    let attempt: Attempt
    /// How long to wait for somebody: briefly where nobody is expected.
    let patience: Duration
    /// Where a socket of the pod that is reached as it is, is the origin's.
    let keepsDestination: Bool
    /// Everybody who could get it.
    let services: [Service]
    let namespace: NetworkNamespace

    private var flow: Flow { attempt.flow }

    func observe() -> Outcome {
        do throws(KernelError) {
            return try flow.protocol == .tcp ? observeConnection() : observeDatagram()
        } catch {
            return .strange("\(error)")
        }
    }

    // MARK: TCP

    private func observeConnection() throws(KernelError) -> Outcome {
        let client = try open(attempt.isNonBlocking ? .tcp.nonBlocking : .tcp)
        // No TIME_WAIT stays behind to meet the next pod, which has the same addresses.
        try client.resetOnClose()
        if let refusal = try connect(client) { return refusal }
        guard let service = try firstService() else { return .dropped }
        let accepted = try service.socket.accept()
        let source = try accepted.peerEndpoint()
        return .accepted(
            Acceptance(
                site: service.site, port: service.port, origin: origin(of: accepted, service),
                source: source.address, mistake: Self.mistake(source, try client.localEndpoint()),
                peer: try client.peerEndpoint()))
    }

    /// Connects; what came of it when that is not a connection.
    private func connect(_ client: borrowing Socket) throws(KernelError) -> Outcome? {
        do throws(KernelError) {
            try namespace.run { () throws(KernelError) in
                try asOwner(attempt.connector ?? flow.owner ?? .root) { () throws(KernelError) in
                    try client.connect(to: flow.destination)
                }
            }
            return nil
        } catch {
            switch error.errno {
            case .nowInProgress where attempt.isNonBlocking:
                // Whether it came about, the accepting side shows; a refusal shows here.
                let isOver = try client.waitUntilWritable(patience)
                return isOver ? try refusal(client) : .dropped
            case .connectionRefused: return .refused
            // By a filter or a program; or by silence, which ends the wait.
            case .notPermitted, .permissionDenied, .nowInProgress, .wouldBlock, .timedOut:
                return .dropped
            default: return .strange("\(error)")
            }
        }
    }

    /// What became of a connection that was not waited for (`SO_ERROR`).
    private func refusal(_ client: borrowing Socket) throws(KernelError) -> Outcome? {
        let status = try client.value(of: Socket.Option(level: 1, name: 4), length: 4)
        let error = Errno(rawValue: CInt(status.first ?? 0))
        if error.rawValue == 0 { return nil }
        return error == .connectionRefused ? .refused : .strange("SO_ERROR: \(error)")
    }

    /// What is wrong when the acceptor and the client do not mean the same source.
    private static func mistake(_ seen: Endpoint, _ own: Endpoint) -> String? {
        seen == own ? nil : "seen as \(seen), its own name is \(own)"
    }

    /// Where a sidecar would take the connection to.
    private func origin(of accepted: borrowing Socket, _ service: Service) -> Endpoint? {
        do throws(KernelError) {
            return try accepted.originalDestination(flow.destination.address.family)
        } catch {
            // Connections nobody redirected have no other destination than their own.
            let local = try? accepted.localEndpoint()
            return local?.port == service.port || keepsDestination ? local : nil
        }
    }

    // MARK: UDP

    private func observeDatagram() throws(KernelError) -> Outcome {
        let client = try open(.udp)
        let question = Array("\(attempt.hashValue)".utf8)
        if attempt.isConnected {
            if let refusal = try connect(client) { return refusal }
            try client.descriptor.write(question)
        } else {
            try namespace.run { () throws(KernelError) in
                try asOwner(attempt.connector ?? flow.owner ?? .root) { () throws(KernelError) in
                    try client.send(question, to: flow.destination)
                }
            }
        }
        guard let service = try firstService() else { return .dropped }
        let datagram = try service.socket.receiveDatagram()
        guard datagram.bytes == question else { return .strange("somebody else's datagram") }
        try service.socket.send(question, to: datagram.peer, from: datagram.local)
        guard try client.descriptor.waitForInput(.seconds(1)) else {
            return .strange("\(service.site):\(service.port) answered, and no answer came")
        }
        let answer = try client.receiveDatagram()
        let local = try client.localEndpoint()
        if attempt.isConnected, answer.peer != flow.settled.destination {
            return .strange("asked \(flow.settled.destination), answered by \(answer.peer)")
        }
        let isUnbound = !attempt.isConnected && !attempt.isBound
        let isRedirected = service.port != flow.destination.port
        return .accepted(
            Acceptance(
                site: service.site, port: service.port,
                origin: isRedirected ? nil : Endpoint(datagram.local, service.port),
                source: datagram.peer.address,
                mistake: Self.mistake(
                    datagram.peer, isUnbound ? Endpoint(datagram.peer.address, local.port) : local),
                peer: attempt.isConnected ? try client.peerEndpoint() : answer.peer))
    }

    // MARK: Both

    /// Opens the client's socket as its owner, and binds it where the attempt says so.
    private func open(_ kind: Socket.Kind) throws(KernelError) -> Socket {
        let family = attempt.isMapped ? .ipv6 : flow.destination.address.family
        let timeout = patience
        return try namespace.run { () throws(KernelError) in
            try asOwner(flow.owner ?? .root) { () throws(KernelError) in
                let socket = try Socket.open(kind, family, timeout: timeout)
                guard attempt.isBound else { return socket }
                if attempt.origin == .peer {
                    try socket.set(family == .ipv4 ? .transparent4 : .transparent6, to: 1)
                }
                try socket.bind(flow.source)
                return socket
            }
        }
    }

    /// Who has something to take.
    private func firstService() throws(KernelError) -> Service? {
        try firstWithInput(services.map { $0.socket.rawDescriptor }, within: patience)
            .map { services[$0] }
    }
}
