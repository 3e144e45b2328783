// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import Foundation
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Synchronization
import SystemPackage
import Testing

/// Many connections at once, of several pods, over the same few places.
@Suite(.requiresKernel, .needsKernelTypes) struct HandoverRaceTests {
    /// Three pods' connections have one pair of places.
    ///
    /// Each client has a port, and uses it again as soon as it may, after ends of every kind. The
    /// destination's port says which connection it is.
    @Test(.timeLimit(.minutes(5)))
    func `no connection gets the origin of another, however they race for places`() async {
        await #expect(processExitsWith: .success) {
            try await withHandoverScene(.ipv4) { scene in
                let pods = try [1, 2, 3].map { try TestPod.create("pod\($0)", number: $0) }
                for pod in pods { try await scene.backend.apply(pod.plan, to: pod.workload) }
                let ports = try scene.portsOfOnePlace(of: pods)
                let race = Race()
                for (pod, port) in zip(pods, ports) {
                    try race.serve(pod)
                    for number in 0..<Race.clientsOfPod {
                        race.dial(pod, from: port + 2 * UInt16(number), salt: number)
                    }
                }
                try await waitUntil { race.isOver }
                let outcome = race.outcome
                #expect(outcome.faults == [])
                #expect(outcome.right == pods.count * Race.clientsOfPod * Race.connections)
                try await waitUntil { try await scene.occupied() == [0, 0] }
                // Three cannot all have had places.
                let failures = try await scene.backend.failures()
                #expect(failures["handovers full", default: 0] > 0)
                #expect(failures.filter { $0.value > 0 }.keys.sorted() == ["handovers full"])
            }
        }
    }
}

extension HandoverScene {
    /// A port of each pod's, all of whose connections to the sidecar have the same pair of places.
    ///
    /// The places of a pod's even ports are one pair after the other, round and round.
    fileprivate func portsOfOnePlace(of pods: [TestPod]) throws -> [UInt16] {
        let base: UInt16 = 20000
        var places: [Int] = []
        for pod in pods {
            // Nobody listens: the place is there as long as the socket.
            try pod.lose(true)
            let client = try pod.beginConnection(
                to: peerOf(pod, 80), from: Endpoint(pod.address(.ipv4), base))
            places.append(Int(try place().index))
            try pod.lose(false)
            withExtendedLifetime(client) {}
        }
        // Even ones, far from both ends for some pair that all have.
        for shift in stride(from: 0, to: 65536, by: 2) {
            let ports = places.map { (Int(base) + shift - ($0 - (places.first ?? 0))) & 0xffff }
            if ports.allSatisfy({ $0 > 2048 && $0 < 65000 }) { return ports.map(UInt16.init) }
        }
        throw KernelError("find ports", .addressInUse)
    }
}

private func peerOf(_ pod: TestPod, _ port: UInt16) -> Endpoint {
    Endpoint(pod.peerAddress(.ipv4), port)
}

/// Clients and sidecars, each on a thread of its own.
private final class Race: Sendable {
    static let clientsOfPod = 3
    static let connections = 2000

    struct Outcome {
        var right = 0
        var running = 0
        var faults: [String] = []
    }

    private let state = Mutex(Outcome())

    var outcome: Outcome { state.withLock { $0 } }
    var isOver: Bool { state.withLock { $0.running == 0 } }

    /// A sidecar, which reads as many connections' ports as its pod's clients write.
    func serve(_ pod: TestPod) throws {
        let listener = SharedSocket(try pod.namespace.listen(.ipv4, 15001, as: .sidecar))
        thread { () throws(KernelError) in
            for number in 0..<(Self.clientsOfPod * Self.connections) {
                let server = try listener.socket.accept()
                // A client that resets may do so before this, or between these.
                let early = number % 2 == 0 ? try server.originalDestination(.ipv4) : nil
                let text = try server.receive(5)
                let origin = try server.originalDestination(.ipv4)
                let wanted = peerOf(pod, UInt16(text) ?? 0)
                if origin == wanted, early == nil || early == wanted {
                    self.state.withLock { $0.right += 1 }
                } else {
                    self.fail("\(text) is taken for \(origin), and was for \(early as Any)")
                }
            }
        }
    }

    /// A client that makes its connections from one port.
    func dial(_ pod: TestPod, from port: UInt16, salt: Int) {
        let source = Endpoint(pod.address(.ipv4), port)
        thread { () throws(KernelError) in
            for number in 0..<Self.connections {
                let destination = UInt16(10000 + salt * Self.connections + number)
                let client = try self.connect(pod, to: peerOf(pod, destination), from: source)
                try client.send("\(destination)")
                switch number % 3 {
                case 0: try client.resetOnClose()
                case 1:
                    // The sidecar closes first, or as we do.
                    _ = try? client.receiveAll()
                    try client.resetOnClose()
                default:
                    // Half closed, its end still waits for the sidecar's.
                    try client.finishSending()
                    _ = try? client.receiveAll()
                    try client.resetOnClose()
                }
            }
        }
    }

    /// From another processor a SYN may overtake the reset of the connection before it, whose other
    /// end waits for that in FIN_WAIT_2 and resets the SYN.
    private func connect(
        _ pod: TestPod, to destination: Endpoint, from source: Endpoint
    ) throws(KernelError) -> Socket {
        for _ in 0..<100 {
            do throws(KernelError) {
                return try pod.namespace.connect(to: destination, from: source)
            } catch {
                guard error.errno == .connectionRefused else { throw error }
            }
        }
        return try pod.namespace.connect(to: destination, from: source)
    }

    private func fail(_ text: String) { state.withLock { $0.faults.append(text) } }

    private func thread(_ body: @escaping @Sendable () throws(KernelError) -> Void) {
        state.withLock { $0.running += 1 }
        Thread.detachNewThread { [self] in
            do throws(KernelError) { try body() } catch { fail("\(error)") }
            state.withLock { $0.running -= 1 }
        }
    }
}
