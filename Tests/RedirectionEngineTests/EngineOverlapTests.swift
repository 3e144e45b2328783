// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// Workloads that would have each other's connections.
@Suite(.requiresKernel, .timeLimit(.minutes(2))) struct EngineOverlapTests {
    private let world = EngineWorld()

    /// Makes a cgroup with two others in it; where there is no hierarchy to make them in, nothing can
    /// be a cgroup, and nothing is checked.
    private func withCgroups(
        _ body: (_ outer: Cgroup, _ inner: Cgroup, _ aside: Cgroup) async throws -> Void
    ) async throws {
        guard (try? Cgroup.root()) != nil else { return }
        let outer = try Cgroup.createUnique(prefix: "swerve-test")
        defer { try? outer.remove() }
        let (inner, aside) = (outer.child("inner"), outer.child("aside"))
        defer { for cgroup in [inner, aside] { try? cgroup.remove() } }
        for cgroup in [inner, aside] { try cgroup.create() }
        try await body(outer, inner, aside)
    }

    private func expectRefusal(
        of place: WorkloadPlace, beside other: Workload.ID, _ how: String, by engine: Engine? = nil
    ) async {
        let before = world.files
        let engine = engine ?? world.engine()
        let error = await #expect(throws: EngineError.self) {
            try await engine.apply(Preset.fsm.plan(ownAddresses: []), .ebpf, to: place)
        }
        guard case .overlapping(place.id, other, let reason) = error else {
            Issue.record("\(place.id): \(String(describing: error))")
            return
        }
        #expect(reason.contains(how), "\(reason)")
        #expect(error?.description.contains("`swerve remove \(other)` first") == true)
        #expect(world.files == before)
        #expect(world.kernel.holders(of: place.id) == [])
    }

    @Test func `cgroups that are workloads do not nest`() async throws {
        try await withCgroups { outer, inner, aside in
            let web = try TestWorkload()
            let engine = world.engine()
            try await engine.apply(
                web.plan, .ebpf, to: WorkloadPlace(id: "inner", cgroup: inner.path))
            await expectRefusal(
                of: WorkloadPlace(id: "outer", cgroup: outer.path), beside: "inner", "holds")
            await expectRefusal(
                of: WorkloadPlace(id: "same", cgroup: inner.path + "/"), beside: "inner", "below")
            await expectRefusal(
                of: WorkloadPlace(
                    id: "pod", namespace: web.place.namespace, cgroup: outer.path),
                beside: "inner", "holds")
            // Its own place is nobody else's, and one beside it neither.
            try await engine.apply(
                web.otherPlan, .ebpf, to: WorkloadPlace(id: "inner", cgroup: inner.path))
            try await engine.apply(
                web.plan, .ebpf, to: WorkloadPlace(id: "aside", cgroup: aside.path))
            try await engine.remove("inner")
            await expectRefusal(
                of: WorkloadPlace(id: "outer", cgroup: outer.path), beside: "aside", "holds")
            // Who is gone has nothing any more.
            try aside.remove()
            try await engine.apply(
                web.plan, .ebpf, to: WorkloadPlace(id: "outer", cgroup: outer.path))
        }
    }

    @Test func `a namespace is one workload's`() async throws {
        let web = try TestWorkload()
        try await world.engine().apply(web.plan, .nft, to: web.place)
        await expectRefusal(
            of: WorkloadPlace(id: "again", namespace: web.place.namespace), beside: "web",
            "the same network namespace")
    }

    @Test func `what is in a redirected namespace is no other workload's`() async throws {
        try await withCgroups { _, inner, aside in
            let web = try TestWorkload()
            try await world.engine().apply(web.plan, .nft, to: web.place)
            let part = WorkloadPlace(id: "part", cgroup: inner.path, in: web.place.namespace)
            await expectRefusal(of: part, beside: "web", "redirected as a whole")
            try await world.engine().remove("web")
            try await world.engine().apply(web.plan, .ebpf, to: part)
            await expectRefusal(of: web.place, beside: "part", "redirected by itself")
            // Two cgroups share a namespace.
            try await world.engine().apply(
                web.plan, .ebpf,
                to: WorkloadPlace(id: "other", cgroup: aside.path, in: web.place.namespace))
        }
    }

    @Test func `what is begun counts as what is on record`() async throws {
        let web = try TestWorkload()
        let record = try await world.engine().apply(web.plan, .nft, to: web.place)
        let store = StateStore(world.state)
        _ = try store.begin(.apply(record: record), "web")
        try store.forget("web")
        await expectRefusal(
            of: WorkloadPlace(id: "again", namespace: web.place.namespace), beside: "web",
            "the same network namespace")
    }

    @Test func `what another process has changed on record is read anew`() async throws {
        let (first, second, aside) = (
            try TestWorkload(), try TestWorkload("second"), try TestWorkload("aside")
        )
        let engine = world.engine()
        try await engine.apply(first.plan, .nft, to: first.place)
        try await engine.apply(aside.plan, .nft, to: aside.place)
        // The name goes to another namespace.
        try await world.engine().remove(first.place.id)
        try await world.engine().apply(
            second.plan, .nft,
            to: WorkloadPlace(id: first.place.id, namespace: second.place.namespace))
        await expectRefusal(
            of: WorkloadPlace(id: "again", namespace: second.place.namespace),
            beside: first.place.id, "the same network namespace", by: engine)
        try await engine.apply(
            first.plan, .nft, to: WorkloadPlace(id: "again", namespace: first.place.namespace))
    }
}
