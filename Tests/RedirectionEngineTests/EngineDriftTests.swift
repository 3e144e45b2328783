// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import RedirectionEngine
import RedirectionModel
import Testing

@Suite(.requiresKernel, .timeLimit(.minutes(1))) struct EngineDriftTests {
    private let world = EngineWorld()

    private func difference() -> Drift { Drift(.missing, .rules, "the plan of web") }

    @Test func `drift is counted and repaired`() async throws {
        let web = try TestWorkload()
        let engine = world.engine()
        try await engine.apply(web.plan, .nft, to: web.place)
        for round in 1...3 {
            world.kernel.lose(.nft, of: "web")
            #expect(await engine.reconcile() == [:])
            #expect(try await world.installed(.nft, web) == web.plan.fingerprint)
            let record = engine.list().records[0]
            #expect(record.drift == [])
            #expect(record.driftCounts.map(\.count) == [round])
        }
        #expect(await engine.log.drifts.values.reduce(0, +) == 3)
        #expect(Array(world.story.suffix(2)) == [.drifted(.nft, difference()), .repaired(.nft)])
    }

    @Test func `drift that is to be reported is, once, and stays`() async throws {
        let web = try TestWorkload()
        let engine = world.engine(drift: .report)
        try await engine.apply(web.plan, .nft, to: web.place)
        world.kernel.lose(.nft, of: "web")
        for _ in 0..<3 { #expect(await engine.reconcile() == [:]) }
        #expect(try await world.installed(.nft, web) == nil)
        #expect(engine.list().records[0].drift == [difference()])
        #expect(world.story.filter { $0 == .drifted(.nft, difference()) }.count == 1)
    }

    @Test func `a repair that fails is tried again`() async throws {
        let web = try TestWorkload()
        let engine = world.engine()
        try await engine.apply(web.plan, .nft, to: web.place)
        world.kernel.lose(.nft, of: "web")
        world.kernel.fail(.apply, of: .nft)
        #expect(await engine.reconcile().keys.sorted() == ["web"])
        world.kernel.fail(.apply, of: .nft, false)
        #expect(await engine.reconcile() == [:])
        #expect(try await world.installed(.nft, web) == web.plan.fingerprint)
    }

    @Test func `nothing is written where nothing differs`() async throws {
        let web = try TestWorkload()
        try await world.engine().apply(web.plan, .nft, to: web.place)
        let engine = world.engine { Issue.record("\($0)") }
        #expect(await engine.recover() == [:])
        #expect(await engine.reconcile() == [:])
    }

    @Test func `what retires in a repair is not on record afterwards`() async throws {
        let web = try TestWorkload()
        let engine = world.engine()
        try await engine.apply(web.plan, .ebpf, to: web.place)
        world.kernel.connect(2, by: .ebpf, in: "web")
        #expect(try await engine.setMode(.nft, of: "web").retiring == [.ebpf])
        world.kernel.connect(0, by: .ebpf, in: "web")
        world.kernel.lose(.nft, of: "web")
        // A change is compared without asking who retires; the repair asks.
        try await engine.look(at: "web")
        #expect(world.story.contains(.retired(.ebpf)))
        #expect(engine.list().records[0].retiring == [])
    }
}
