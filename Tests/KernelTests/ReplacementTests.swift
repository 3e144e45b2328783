// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import TestedMechanisms
import Testing

/// What connections meet while one plan, or one mechanism, takes the place of another.
@Suite(.requiresKernel, .serialized) struct ReplacementTests {
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases, Direction.allCases)
    func `no connection escapes while one plan replaces another`(
        _ subject: Subject, _ direction: Direction
    ) async {
        await #expect(processExitsWith: .success) { [subject, direction] in
            try await withRedirectedPod(by: subject) { pod, backend in
                for family in AddressFamily.allCases {
                    try await Self.replacePlans(backend, pod, direction, family)
                }
            }
        }
    }

    private static func replacePlans(
        _ backend: any RedirectionBackend, _ pod: TestPod, _ direction: Direction,
        _ family: AddressFamily
    ) async throws {
        var other = pod.plan
        other.outbound.excludedPorts = [1]
        other.inbound.excludedPorts = [1]
        let plans = [other, pod.plan]
        let isOutbound = direction == .outbound
        let sidecar = try pod.namespace.listen(family, isOutbound ? 15001 : 15003, as: .sidecar)
        // An escaped connection would find a listener here, and be noticed.
        let server = isOutbound ? pod.peer : pod.namespace
        let escape = try server.listen(family, 8080)
        let client = ClientThread(
            in: isOutbound ? pod.namespace : pod.peer,
            to: Endpoint(isOutbound ? pod.peerAddress(family) : pod.address(family), 8080))
        var (accepted, replaced) = (0, 0)
        func drain(_ limit: Duration) throws {
            while try sidecar.descriptor.waitForInput(limit) {
                _ = try sidecar.accept()
                accepted += 1
            }
        }
        // The client is as far as the plans: on a loaded machine, one may be far behind the other.
        while replaced < 40 || client.connected <= 100, replaced < 5_000, !client.isDone {
            client.allow(100)
            try await backend.apply(plans[replaced % 2], to: pod.workload)
            replaced += 1
            // All of them: who is not accepted fills the queue, and the next SYN is dropped.
            try drain(.zero)
            _ = try sidecar.descriptor.waitForInput(.milliseconds(5))
        }
        let connected = try client.stop()
        try drain(.milliseconds(100))
        #expect(replaced >= 40)
        #expect(connected > 100)
        #expect(accepted == connected)
        #expect(try !escape.descriptor.waitForInput(.zero))
    }

    /// A listener that defers its accept finishes the handshake when the first byte comes.
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases, Direction.allCases)
    func `a connection that began under the old plan keeps its origin`(
        _ subject: Subject, _ direction: Direction
    ) async {
        await #expect(processExitsWith: .success) { [subject, direction] in
            try await withRedirectedPod(by: subject) { pod, backend in
                var other = pod.plan
                other.sidecar.outboundPort = 16001
                other.sidecar.inboundPort = 16003
                other.inbound.excludedPorts = [8080]
                for family in AddressFamily.allCases {
                    try await backend.apply(pod.plan, to: pod.workload)
                    let isOutbound = direction == .outbound
                    let sidecar = try pod.namespace.listen(
                        family, isOutbound ? 15001 : 15003, as: .sidecar)
                    try sidecar.set(.deferAccept, to: 10)
                    let origin = Endpoint(
                        isOutbound ? pod.peerAddress(family) : pod.address(family), 8080)
                    let from = isOutbound ? pod.namespace : pod.peer
                    let client = try from.connect(to: origin)
                    #expect(try !sidecar.descriptor.waitForInput(.milliseconds(50)))
                    try await backend.apply(other, to: pod.workload)
                    try client.send("late")
                    let accepted = try sidecar.accept()
                    #expect(try accepted.originalDestination(family) == origin)
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `a plan that could not be applied leaves the old one, and its counts`(
        _ subject: Subject
    ) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, backend in
                let sidecar = try pod.namespace.listen(.ipv4, 15001, as: .sidecar)
                let client = try pod.namespace.connect(to: Endpoint(pod.peerAddress(.ipv4), 80))
                #expect(try sidecar.accept().peerEndpoint() == client.localEndpoint())
                // The table is somebody else's.
                let taken = try StockTool.run(
                    "ip", "route", "add", "unreachable", "default", "table", "133",
                    in: pod.namespace)
                #expect(taken.status == 0)
                var plan = pod.plan
                plan.inboundMode = .transparent(mark: 7, table: 133)
                await #expect(throws: RedirectionError.self) {
                    try await backend.apply(plan, to: pod.workload)
                }
                #expect(try await backend.installed(in: pod.workload) == pod.plan.fingerprint)
                #expect(try await backend.counters(in: pod.workload)[.outbound, .outbound] == 1)
                try await backend.apply(pod.plan, to: pod.workload)
                #expect(try await backend.counters(in: pod.workload) == ReasonCounters())
            }
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: ["nft", "legacy"])
    func `a transparent pod goes from rules to programs and back with its routing`(
        _ name: String
    ) async {
        await #expect(processExitsWith: .success) { [name] in
            try await withTestCgroup { cgroup in
                let rules = IPTablesBackend(name == "nft" ? .nft : .legacy)
                let programs = try await EBPFBackend.load(
                    attachingTo: cgroup, inbound: .socketLookup)
                let pod = try TestPod.create()
                var plan = pod.plan
                plan.inboundMode = .transparent(mark: 0x539, table: 133)
                let steps: [(any RedirectionBackend, any RedirectionBackend)] = [
                    (rules, programs), (programs, rules),
                ]
                for (old, new) in steps {
                    try await old.apply(plan, to: pod.workload)
                    // Another plan of the other one's is no reason to take the routing away.
                    try await new.apply(pod.plan, to: pod.workload)
                    #expect(try await old.installed(in: pod.workload) == plan.fingerprint)
                    try await new.apply(plan, to: pod.workload)
                    try await old.remove(from: pod.workload)
                    #expect(try await new.installed(in: pod.workload) == plan.fingerprint)
                    for family in AddressFamily.allCases { try handOn(pod, family) }
                    try await new.remove(from: pod.workload)
                }
                for owner in TransparentRouting.Owner.allCases {
                    #expect(try TransparentRouting.installed(in: pod.namespace, for: owner) == nil)
                }
            }
        }
    }
}

/// The sidecar calls the application from its client's address, and is answered.
private func handOn(_ pod: TestPod, _ family: AddressFamily) throws {
    let application = try pod.namespace.listen(family, 8080)
    let onward = try pod.namespace.run { () throws(KernelError) in
        let socket = try asOwner(.sidecar) { () throws(KernelError) in
            try Socket.open(.tcp, family)
        }
        try socket.set(
            family == .ipv4 ? Socket.Option.transparent4 : Socket.Option.transparent6, to: 1)
        try socket.set(.mark, to: 0x539)
        try socket.bind(Endpoint(pod.peerAddress(family), 0))
        try socket.connect(to: Endpoint(pod.address(family), 8080))
        return socket
    }
    let served = try application.accept()
    #expect(try served.peerEndpoint().address == pod.peerAddress(family))
    try served.send("the answer")
    try served.finishSending()
    #expect(try onward.receiveAll() == "the answer")
}

extension Socket.Option {
    /// `TCP_DEFER_ACCEPT`, in seconds.
    static let deferAccept = Self(level: 6, name: 9)
}
