// SPDX-License-Identifier: Apache-2.0

internal import Foundation
internal import LinuxKernel
internal import RedirectionModel
internal import SeededRandom
internal import Synchronization
internal import SystemPackage

extension TrafficLoad {
    /// Where lasting connections go, and where probes do.
    static let lastingPort: UInt16 = 8080
    static let probePort: UInt16 = 9090
    /// What the server turns every byte by, so that nobody can return what he got.
    static let twist: UInt8 = 0x5a

    private func origin(
        _ direction: Direction, _ family: AddressFamily, _ port: UInt16
    ) -> Endpoint {
        Endpoint(direction == .outbound ? pod.peerAddress(family) : pod.address(family), port)
    }

    private func family(_ number: Int) -> AddressFamily { number % 2 == 0 ? .ipv4 : .ipv6 }

    // MARK: Lasting connections

    func keepBusy(_ direction: Direction, _ number: Int) throws(KernelError) {
        var random = SplitMix64(seed: UInt64(number))
        // Every other pair of them ends and begins anew, each after a time of its own.
        let isRenewed = number % 4 >= 2
        while !isStopping {
            let socket = try open(direction, number)
            let blocks = isRenewed ? Int.random(in: 20...120, using: &random) : Int.max
            var sent = 0
            while sent < blocks, !isStopping {
                try exchange(socket, direction, &random)
                sent += 1
                Thread.sleep(forTimeInterval: settings.pause / .seconds(1))
            }
            try close(socket, direction)
        }
    }

    func stayIdle(_ direction: Direction, _ number: Int) throws(KernelError) {
        var random = SplitMix64(seed: UInt64(1000 + number))
        let isRenewed = number % 4 >= 2
        while !isStopping {
            let socket = try open(direction, number)
            try exchange(socket, direction, &random)
            let limit = ContinuousClock.now + .milliseconds(1500 + 400 * number)
            while !isStopping, !isRenewed || ContinuousClock.now < limit {
                Thread.sleep(forTimeInterval: 0.02)
            }
            try exchange(socket, direction, &random)
            try close(socket, direction)
        }
    }

    /// Connects, and is told by whom it was accepted.
    private func open(_ direction: Direction, _ number: Int) throws(KernelError) -> Socket {
        let origin = origin(direction, family(number), Self.lastingPort)
        let socket = try Socket.open(.tcp, origin.address.family, timeout: settings.patience)
        try socket.connect(to: origin)
        try socket.send(Self.greeting)
        judge(try line(from: socket), direction, origin, by: try socket.localEndpoint())
        state.withLock { state in
            state.opened += 1
            state.outcome.connections[direction, default: 0] += 1
        }
        return socket
    }

    /// What every lasting connection begins with.
    static let greeting = "open"

    private func exchange(
        _ socket: borrowing Socket, _ direction: Direction, _ random: inout SplitMix64
    ) throws(KernelError) {
        let size = Int.random(in: 1...4000, using: &random)
        var block: [UInt8] = []
        while block.count < size {
            let bits = random.next()
            block += (0..<8).map { UInt8(truncatingIfNeeded: bits >> (8 * $0)) }
        }
        try socket.descriptor.write(block)
        var answer: [UInt8] = []
        while answer.count < block.count {
            let part = try socket.descriptor.read(upTo: block.count - answer.count)
            guard !part.isEmpty else { throw Self.ended(after: answer.count, of: block.count) }
            answer += part
        }
        guard answer.elementsEqual(block.lazy.map { $0 ^ Self.twist }) else {
            return note(.corrupted, direction, "a block of \(block.count) bytes came back changed")
        }
        state.withLock { $0.outcome.blocks[direction, default: 0] += 1 }
    }

    private static func ended(after count: Int, of size: Int) -> KernelError {
        KernelError("read", .connectionAbort, detail: "the end after \(count) of \(size) bytes")
    }

    /// Says that it is done, and waits for the other end to say so.
    private func close(_ socket: consuming Socket, _ direction: Direction) throws(KernelError) {
        try socket.finishSending()
        let rest = try socket.descriptor.readAll()
        if !rest.isEmpty { note(.corrupted, direction, "\(rest.count) bytes nobody asked for") }
    }

    // MARK: Probes

    func probe(_ direction: Direction, _ family: AddressFamily) {
        let origin = origin(direction, family, Self.probePort)
        while !isStopping {
            do throws(KernelError) {
                let socket = try Socket.open(.tcp, family, timeout: settings.patience)
                try socket.connect(to: origin)
                let answer = try line(from: socket)
                if judge(answer, direction, origin, by: try socket.localEndpoint()) {
                    state.withLock { $0.outcome.probes[direction, default: 0] += 1 }
                }
            } catch {
                note(Fault(error), direction, "a new connection to \(origin): \(error)")
            }
            Thread.sleep(forTimeInterval: settings.probePause / .seconds(1))
        }
    }

    /// Whether the sidecar has accepted the connection, and knows where it was going.
    @discardableResult
    private func judge(
        _ answer: String, _ direction: Direction, _ origin: Endpoint, by own: Endpoint
    ) -> Bool {
        if answer == "via \(direction) \(origin)" { return true }
        if answer != Self.direct {
            note(.failed, direction, "\(own) asked for \(origin), was answered \"\(answer)\"")
        } else if settings.mayPassDirectly {
            state.withLock { $0.outcome.direct[direction, default: 0] += 1 }
        } else {
            note(.unredirected, direction, "\(own) came to \(origin) without the sidecar")
        }
        return false
    }

    /// What a server says whom no sidecar has introduced anybody to.
    static let direct = "direct"
}

/// Reads up to the end of a line, byte by byte: what follows is not ours.
func line(from socket: borrowing Socket) throws(KernelError) -> String {
    var text: [UInt8] = []
    while text.count < 200 {
        guard let byte = try socket.descriptor.read(upTo: 1).first else { break }
        if byte == UInt8(ascii: "\n") { break }
        text.append(byte)
    }
    return String(decoding: text, as: UTF8.self)
}
