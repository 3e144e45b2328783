// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SidecarProxy
import SystemPackage
import TestedMechanisms
import Testing

/// Who dials the sidecar's own ports gets an end, and never a sidecar that calls itself for ever.
@Suite(.requiresKernel) struct LoopTests {
    /// Somebody who connects straight to the sidecar.
    private struct Dial: CustomStringConvertible {
        let place: NetworkNamespace
        let destination: Endpoint
        /// Whether an IPv4 address is dialed from an IPv6 socket.
        var isMapped = false

        var description: String { "\(destination)\(isMapped ? ", mapped" : "")" }

        /// Every way to the two ports: inside by loopback and by the pod's address, and from outside.
        static func all(to pod: TestPod) -> [Dial] {
            AddressFamily.allCases.flatMap { family in
                [UInt16(15001), 15003].flatMap { port in
                    let loopback = Endpoint(.loopback(family), port)
                    let own = Endpoint(pod.address(family), port)
                    let inside = [loopback, own].map {
                        Dial(place: pod.namespace, destination: $0)
                    }
                    let mapped = inside.map { dial in
                        Dial(place: dial.place, destination: dial.destination, isMapped: true)
                    }
                    return inside + (family == .ipv4 ? mapped : [])
                        + [Dial(place: pod.peer, destination: own)]
                }
            }
        }

        /// Connects, says something and waits for the end of it; returns the name it had.
        func run() throws -> Endpoint {
            let client = try place.run { () throws(KernelError) in
                try asOwner(.application) { () throws(KernelError) in
                    let socket = try Socket.open(
                        .tcp, isMapped ? .ipv6 : destination.address.family)
                    try socket.connect(to: destination)
                    return socket
                }
            }
            let name = try client.localEndpoint()
            try? client.send("is it you?")
            do throws(KernelError) {
                #expect(try client.receiveAll().isEmpty)
            } catch {
                // By a reset, but not by waiting for ever.
                #expect(error.errno == .connectionReset, "\(self): \(error)")
            }
            return name
        }
    }

    @Test(.timeLimit(.minutes(1)), arguments: Subject.allCases, [true, false])
    func `a connection straight to the sidecar ends there`(
        _ subject: Subject, _ passesOwnAddresses: Bool
    ) async {
        await #expect(processExitsWith: .success) { [subject, passesOwnAddresses] in
            try await withTestCgroup { cgroup in
                let backend = try await subject.make(attachingTo: cgroup)
                let pod = try TestPod.create()
                var plan = pod.plan
                plan.passesOwnAddresses = passesOwnAddresses
                try await backend.apply(plan, to: pod.workload)
                let sidecar = try await RunningSidecar(in: pod)
                let dials = Dial.all(to: pod)
                let names = try dials.map { try $0.run() }
                // One that is none of these comes through as ever, and its record comes last.
                let server = try pod.peer.listen(.ipv4, 8080)
                let last = try pod.namespace.connect(to: Endpoint(pod.peerAddress(.ipv4), 8080))
                try server.accept().finishSending()
                try last.finishSending()
                let records = try await sidecar.records(until: try last.localEndpoint())
                for (dial, name) in zip(dials, names) {
                    let own = records.filter { $0.peer == name }
                    #expect(own.count == 1, "\(dial): \(records)")
                    #expect(own.allSatisfy { $0.error != nil && $0.sent == 0 }, "\(dial): \(own)")
                }
                // At most one hop from the one port to the other, and the last connection.
                #expect(records.count <= 2 * dials.count + 1, "\(records)")
                #expect(records.last?.error == nil)
                try sidecar.stop()
                try await backend.remove(from: pod.workload)
            }
        }
    }
}

/// The reference sidecar at work in a pod.
private struct RunningSidecar {
    private let process: LeashedProcess
    private let log = TemporaryFile()

    init(in pod: TestPod) async throws {
        let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let folder = tests.split(separator: "/").dropLast().joined(separator: "/")
        try OwnedDescriptor.open(log.path, .replace).write("")
        var birth = ChildProcess.Birth([
            "/\(folder)/swerve", "sidecar", "--pod", "pod", "--record", log.path,
            "--user", "1500",
        ])
        birth.namespace = pod.namespace
        birth.cgroup = pod.workload.cgroup
        let output = try OwnedDescriptor.open("/dev/null", .write)
        birth.output = output.rawValue
        process = try LeashedProcess(birth)
        let limit = ContinuousClock.now + .seconds(20)
        for port: UInt16 in [15001, 15003] {
            while try pod.namespace.listeningSockets(on: port).isEmpty {
                try #require(ContinuousClock.now < limit, "nobody listens")
                try await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    func stop() throws(KernelError) { try process.stop() }

    /// What was recorded, up to the connection from `client`; waits 20 seconds at most for it.
    func records(until client: Endpoint) async throws -> [ConnectionRecord] {
        let limit = ContinuousClock.now + .seconds(20)
        while true {
            let records = try readFile(log.path).split(separator: "\n").map {
                try JSONDecoder().decode(ConnectionRecord.self, from: Data($0.utf8))
            }
            if records.last?.peer == client { return records }
            try #require(ContinuousClock.now < limit, "no record of \(client): \(records)")
            try await Task.sleep(for: .milliseconds(20))
        }
    }
}
