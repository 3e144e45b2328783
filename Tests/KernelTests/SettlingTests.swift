// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import TestedMechanisms
import Testing

/// What programs do only for the sake of connections that NAT has ends with these.
@Suite(.requiresKernel) struct SettlingTests {
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases.filter(\.isEBPF))
    func `after a switch, nothing is done any more for connections that have ended`(
        _ subject: Subject
    ) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withTestCgroup { cgroup in
                let programs = try #require(
                    try await subject.make(attachingTo: cgroup) as? EBPFBackend)
                try await Scene(subject, programs).check()
            }
        }
    }
}

/// A pod that the engine has switched from rules to programs.
private struct Scene {
    let pod: TestPod
    let state = TemporaryFile()
    let programs: EBPFBackend
    let engine: Engine
    let place: WorkloadPlace
    /// How many ports at the sidecar are reserved for a connection of NAT's.
    let reserved: Int

    init(_ subject: Subject, _ programs: EBPFBackend) throws {
        pod = try TestPod.create()
        self.programs = programs
        engine = Engine(state: state.path, TwoMechanisms(programs: programs))
        place = WorkloadPlace(
            id: pod.workload.id,
            namespace: "/proc/self/fd/\(pod.workload.namespace.rawDescriptor)",
            cgroup: pod.workload.cgroup?.path)
        reserved = subject == .socketLookup ? 0 : 1
    }

    func check() async throws {
        let inbound = try pod.namespace.listen(.ipv4, 15003, as: .sidecar)
        let outbound = try pod.namespace.listen(.ipv4, 15001, as: .sidecar)
        // Its handshakes end with the first byte, and their entries are there until then.
        try outbound.set(.deferAccept, to: 10)
        try await engine.apply(pod.plan, .nft, to: place)
        let client = try pod.peer.connect(to: Endpoint(pod.address(.ipv4), 8080))
        let server = try inbound.accept()
        try await engine.apply(pod.plan, .ebpf, to: place)
        #expect(try await look() == [.nft])
        #expect(try await entriesOfHandshake(at: outbound) == 2)
        #expect(try await programs.occupancy()["swerve_flows"] == reserved)
        try client.finishSending()
        #expect(try server.receiveAll() == "")
        try server.finishSending()
        #expect(try client.receiveAll() == "")
        try await waitUntil { try await look() == [] }
        #expect(try await entriesOfHandshake(at: outbound) == 1)
        #expect(try await programs.occupancy()["swerve_flows"] == 0)
        // No plan has been applied since: that would have begun to count anew.
        let counters = try await programs.counters(in: pod.workload)
        #expect(counters[.outbound, .outbound] == 2)
        try await engine.remove(place.id)
    }

    /// Has the engine look after the pod; returns what has not retired.
    private func look() async throws -> [Mechanism] {
        #expect(await engine.reconcile() == [:])
        return try #require(engine.list().records.first).retiring
    }

    /// How many entries there are for a connection that has not been accepted.
    private func entriesOfHandshake(at sidecar: borrowing Socket) async throws -> Int? {
        let origin = Endpoint(pod.peerAddress(.ipv4), 8080)
        let client = try pod.namespace.connect(to: origin)
        let entries = try await programs.occupancy()
        // One that is not known by its number as well has a place, where the kernel's types are known.
        let count = entries["swerve_handshakes"].map { $0 + (entries["swerve_handovers"] ?? 0) }
        try client.send("late")
        #expect(try sidecar.accept().originalDestination(.ipv4) == origin)
        return count
    }
}

/// Programs, and rules of nf_tables, on a node that has nothing else.
private struct TwoMechanisms: MechanismSource {
    let programs: EBPFBackend
    private let rules = IPTablesBackend(.nft)

    init(programs: EBPFBackend) { self.programs = programs }

    func choose(
        _ wish: Wish, for plan: RedirectionPlan, in workload: Workload
    ) async throws(EngineError) -> Choice {
        guard case .exactly(let mechanism) = wish else { throw .failed("no wish for one") }
        return Choice(mechanism: mechanism, reason: "the test wants it")
    }

    func backend(
        _ mechanism: Mechanism
    ) async throws(RedirectionError) -> any RedirectionBackend {
        switch mechanism {
        case .ebpf: programs
        case .nft: rules
        case .legacy: throw .unsupported(feature: "legacy", because: "the test has none")
        }
    }

    func letGo() async {}

    func forget(
        allBut workloads: [Workload]
    ) async throws(RedirectionError) -> [String] { [] }
}
