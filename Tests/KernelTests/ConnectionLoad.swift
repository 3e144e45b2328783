// SPDX-License-Identifier: Apache-2.0

import Foundation
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Synchronization
import SystemPackage

/// Many connections to or from one pod, each with an origin of its own.
///
/// The client says a number; the sidecar answers with that, its pod's name, and the origin and the
/// source it sees. Nothing is tried twice: a connection that fails is lost.
final class ConnectionLoad: Sendable {
    /// What became of the connections.
    struct Outcome: Sendable {
        var answered: [AddressFamily: Int] = [:]
        /// Where the answer was not for the question, or there was none.
        var failures: [String] = []
        /// How many answers named another source port than the client's own.
        var renumbered = 0
    }

    private struct State {
        var next = 0
        var running = 0
        var isStopping = false
        var outcome = Outcome()
    }

    private let pod: TestPod
    private let direction: Direction
    private let origins: [Endpoint]
    private let state = Mutex(State())

    init(_ direction: Direction, _ pod: TestPod, connectionsPerFamily count: Int) {
        self.pod = pod
        self.direction = direction
        origins = (0..<count).flatMap { index in
            AddressFamily.allCases.map { Self.origin(direction, pod, index, $0) }
        }
    }

    /// Outbound, addresses and ports differ; inbound, ports do.
    private static func origin(
        _ direction: Direction, _ pod: TestPod, _ index: Int, _ family: AddressFamily
    ) -> Endpoint {
        let port = UInt16(20_000 + index)
        guard direction == .outbound else { return Endpoint(pod.address(family), port) }
        // 198.51.100.0/24 and 2001:db8::/32, for documentation: RFC 5737, RFC 3849.
        let host = UInt32(index % 254 + 1)
        return Endpoint(
            family == .ipv4
                ? IPAddress(ipv4: 0xc633_6400 + host)
                : IPAddress(bits: 0x2001_0db8 << 96 + UInt128(host)),
            port)
    }

    /// Starts the sidecar, then clients, `concurrency` at a time.
    func start(concurrency: Int) throws {
        for family in AddressFamily.allCases {
            let port: UInt16 = direction == .outbound ? 15001 : 15003
            let listener = SharedSocket(try pod.namespace.listen(family, port, as: .sidecar))
            try listener.socket.setTimeout(.milliseconds(200))
            for _ in 0..<4 { thread { try self.serve(listener, family) } }
        }
        let place = direction == .outbound ? pod.namespace : pod.peer
        for _ in 0..<concurrency {
            thread {
                // A thread lives in one namespace as one user, so it changes to them once.
                try place.run { () throws(KernelError) in
                    try asOwner(.application) { () throws(KernelError) in self.call() }
                }
            }
        }
    }

    /// Waits until every connection has come to its end, then stops the sidecar.
    func finish() async throws -> Outcome {
        let limit = ContinuousClock.now + .seconds(45)
        while state.withLock({ $0.outcome.total < origins.count }), ContinuousClock.now < limit {
            try await Task.sleep(for: .milliseconds(20))
        }
        state.withLock { $0.isStopping = true }
        while state.withLock({ $0.running > 0 }), ContinuousClock.now < limit {
            try await Task.sleep(for: .milliseconds(20))
        }
        return state.withLock { state in
            if state.running > 0 { state.outcome.failures.append("\(state.running) threads stuck") }
            return state.outcome
        }
    }

    private func thread(_ body: @escaping @Sendable () throws -> Void) {
        state.withLock { $0.running += 1 }
        Thread.detachNewThread { [self] in
            do {
                try body()
            } catch {
                fail("a thread ended: \(error)")
            }
            state.withLock { $0.running -= 1 }
        }
    }

    private func fail(_ text: String) { state.withLock { $0.outcome.failures.append(text) } }
}

extension ConnectionLoad {
    /// The client: takes one origin after the other.
    private func call() {
        while let origin = nextOrigin() {
            do throws(KernelError) {
                let socket = try Socket.open(.tcp, origin.address.family, timeout: .seconds(10))
                try socket.connect(to: origin)
                let number = "\(UInt64.random(in: 0 ... .max))"
                try socket.send(number)
                let answer = String(decoding: try socket.descriptor.read(upTo: 200), as: UTF8.self)
                judge(answer, number, origin, try socket.localEndpoint())
            } catch {
                fail("\(origin): \(error)")
            }
        }
    }

    private func nextOrigin() -> Endpoint? {
        state.withLock { state in
            guard !state.isStopping, state.next < origins.count else { return nil }
            defer { state.next += 1 }
            return origins[state.next]
        }
    }

    private func judge(_ answer: String, _ number: String, _ origin: Endpoint, _ own: Endpoint) {
        let words = answer.split(separator: " ")
        guard words.dropLast().elementsEqual([number, pod.workload.id, "\(origin)"], by: ==),
            let source = words.last.flatMap({ Endpoint(String($0)) }), source.address == own.address
        else { return fail("\(own) asked for \(origin), was answered \"\(answer)\"") }
        state.withLock { state in
            state.outcome.answered[origin.address.family, default: 0] += 1
            state.outcome.renumbered += source.port == own.port ? 0 : 1
        }
    }

    /// The sidecar: answers and waits for the client to close, so that it is never the first.
    private func serve(_ listener: SharedSocket, _ family: AddressFamily) throws {
        while !state.withLock({ $0.isStopping }) {
            guard let accepted = try listener.accept() else { continue }
            let number = String(decoding: try accepted.descriptor.read(upTo: 200), as: UTF8.self)
            let origin = try accepted.originalDestination(family)
            let source = try accepted.peerEndpoint()
            try accepted.send("\(number) \(pod.workload.id) \(origin) \(source)")
            _ = try accepted.receiveAll()
        }
    }
}

extension ConnectionLoad.Outcome {
    var total: Int { answered.values.reduce(0, +) + failures.count }
}
