// SPDX-License-Identifier: Apache-2.0

import Foundation
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// What operators ask the engine for, and what becomes of it when a mechanism fails.
@Suite(.requiresKernel, .timeLimit(.minutes(2))) struct EngineTests {
    private let world = EngineWorld()

    @Test func `what is applied is in the kernel and on record, with the reason`() async throws {
        let web = try TestWorkload()
        let record = try await world.engine().apply(web.plan, .auto, to: web.place)
        #expect(record.mechanism == .ebpf)
        #expect(record.reason == "preferred, and everything it needs is here")
        #expect(try await world.installed(.ebpf, web) == web.plan.fingerprint)
        #expect(world.engine().list().records == [record])
        #expect(world.files == ["workloads/web.json"])
    }

    @Test func `a switch makes the new before it breaks the old`() async throws {
        let web = try TestWorkload()
        let engine = world.engine { [world] step in
            // Whatever is written or removed: somebody holds the workload.
            guard case .kernel(let change) = step, change.detail.hasPrefix("retire") else { return }
            #expect(world.kernel.holders(of: "web").count == 2)
        }
        try await engine.apply(web.plan, .ebpf, to: web.place)
        let record = try await engine.setMode(.nft, of: "web")
        #expect(record.mechanism == .nft)
        #expect(record.touched == [.nft])
        #expect(world.kernel.holders(of: "web") == [.nft])
        #expect(try await world.installed(.nft, web) == web.plan.fingerprint)
        #expect(world.story.contains(.retired(.ebpf)))
    }

    @Test func `a mechanism stays for its connections, and no longer`() async throws {
        let web = try TestWorkload()
        let engine = world.engine()
        try await engine.apply(web.plan, .ebpf, to: web.place)
        world.kernel.connect(3, by: .ebpf, in: "web")
        let record = try await engine.setMode(.legacy, of: "web")
        #expect(record.retiring == [.ebpf])
        #expect(await engine.reconcile() == [:])
        #expect(engine.list().records[0].retiring == [.ebpf])
        // Back while it still lingers, and away again.
        #expect(try await engine.setMode(.ebpf, of: "web").retiring == [])
        #expect(try await engine.setMode(.legacy, of: "web").retiring == [.ebpf])
        world.kernel.connect(0, by: .ebpf, in: "web")
        #expect(await engine.reconcile() == [:])
        #expect(engine.list().records[0].retiring == [])
        #expect(world.kernel.holders(of: "web") == [.legacy])
    }

    @Test func `mode none redirects nothing, and any mode brings the plan back`() async throws {
        let web = try TestWorkload()
        let engine = world.engine()
        try await engine.apply(web.plan, .nft, to: web.place)
        let off = try await engine.setMode(.none, of: "web")
        #expect(off.mechanism == nil)
        #expect(off.reason == "mode none")
        #expect(world.kernel.holders(of: "web") == [])
        try await engine.setMode(.iptables, of: "web")
        #expect(try await world.installed(.nft, web) == web.plan.fingerprint)
    }

    @Test func `removing leaves nothing, in the kernel or on record`() async throws {
        let web = try TestWorkload()
        let engine = world.engine()
        try await engine.apply(web.plan, .ebpf, to: web.place)
        world.kernel.connect(3, by: .ebpf, in: "web")
        try await engine.setMode(.nft, of: "web")
        try await engine.remove("web")
        #expect(world.kernel.holders(of: "web") == [])
        #expect(world.files == [])
        await #expect(throws: EngineError.unknown("web", known: [])) {
            try await engine.remove("web")
        }
    }

    @Test func `a mechanism that was asked for and cannot work changes nothing`() async throws {
        let web = try TestWorkload()
        let world = EngineWorld(refusing: [.ebpf])
        let engine = world.engine()
        await #expect(throws: EngineError.self) {
            try await engine.apply(web.plan, .ebpf, to: web.place)
        }
        #expect(world.files == [])
        let record = try await engine.apply(web.plan, .auto, to: web.place)
        #expect(record.mechanism == .nft)
        #expect(record.reason == "ebpf: no luck (none; since Linux 9.9)")
        await #expect(throws: EngineError.self) { try await engine.setMode(.ebpf, of: "web") }
        #expect(engine.list().records == [record])
        #expect(try await world.installed(.nft, web) == web.plan.fingerprint)
    }

    @Test(arguments: [PolicyMode.nft, .ebpf])
    func `an apply that fails leaves the old plan, and its record`(_ mode: PolicyMode) async throws
    {
        let web = try TestWorkload()
        let engine = world.engine()
        let old = try await engine.apply(web.plan, .ebpf, to: web.place)
        world.kernel.fail(.apply, of: mode == .nft ? .nft : .ebpf)
        await #expect(throws: EngineError.self) {
            try await engine.apply(web.otherPlan, mode, to: web.place)
        }
        #expect(engine.list().records == [old])
        #expect(world.files == ["workloads/web.json"])
        #expect(world.kernel.holders(of: "web") == [.ebpf])
        #expect(try await world.installed(.ebpf, web) == web.plan.fingerprint)
    }

    @Test func `a first apply that fails leaves nothing`() async throws {
        let web = try TestWorkload()
        let engine = world.engine()
        world.kernel.fail(.apply, of: .ebpf)
        await #expect(throws: EngineError.self) {
            try await engine.apply(web.plan, .ebpf, to: web.place)
        }
        #expect(world.files == [])
        #expect(world.kernel.holders(of: "web") == [])
    }

    @Test func `what cannot be undone now is undone later`() async throws {
        let web = try TestWorkload()
        let engine = world.engine()
        world.kernel.fail(.apply, of: .ebpf)
        world.kernel.fail(.remove, of: .ebpf)
        await #expect(throws: EngineError.self) {
            try await engine.apply(web.plan, .ebpf, to: web.place)
        }
        #expect(world.files == ["journal/web.journal"])
        #expect(await engine.reconcile().keys.sorted() == ["web"])
        world.kernel.fail(.remove, of: .ebpf, false)
        #expect(await world.engine().recover() == [:])
        #expect(world.files == [])
    }

    @Test func `a mechanism that cannot retire is asked again`() async throws {
        let web = try TestWorkload()
        let engine = world.engine()
        try await engine.apply(web.plan, .ebpf, to: web.place)
        world.kernel.fail(.retire, of: .ebpf)
        #expect(try await engine.setMode(.nft, of: "web").retiring == [.ebpf])
        #expect(try await world.installed(.nft, web) == web.plan.fingerprint)
        world.kernel.fail(.retire, of: .ebpf, false)
        #expect(await engine.reconcile() == [:])
        #expect(world.kernel.holders(of: "web") == [.nft])
    }

    @Test func `a removal that fails is finished later`() async throws {
        let web = try TestWorkload()
        let engine = world.engine()
        try await engine.apply(web.plan, .nft, to: web.place)
        world.kernel.fail(.remove, of: .nft)
        await #expect(throws: EngineError.self) { try await engine.remove("web") }
        world.kernel.fail(.remove, of: .nft, false)
        #expect(await engine.reconcile() == [:])
        #expect(world.files == [])
        #expect(world.kernel.holders(of: "web") == [])
    }

    @Test func `the machine itself is refused before anything is written`() async throws {
        let engine = world.engine()
        let own = WorkloadPlace(id: "host", namespace: "/proc/self/ns/net")
        let plan = Preset.fsm.plan(ownAddresses: [])
        await #expect(throws: EngineError.redirection(.ownNamespace(workload: "host"))) {
            try await engine.apply(plan, .ebpf, to: own)
        }
        let root = WorkloadPlace(id: "all", cgroup: try Cgroup.root().path + "/.")
        await #expect(throws: EngineError.self) { try await engine.apply(plan, .ebpf, to: root) }
        #expect(world.files == [])
        #expect(world.kernel.holders(of: "host") == [])
        #expect(world.kernel.holders(of: "all") == [])
    }

    @Test func `a name belongs to one workload for as long as that is there`() async throws {
        let engine = world.engine()
        let second = try TestWorkload()
        do {
            let first = try TestWorkload()
            try await engine.apply(first.plan, .nft, to: first.place)
            await #expect(throws: EngineError.taken("web", by: first.place)) {
                try await engine.apply(second.plan, .nft, to: second.place)
            }
            withExtendedLifetime(first) {}
        }
        // The pod is gone, and comes back under its name.
        try await engine.apply(second.plan, .nft, to: second.place)
        #expect(engine.list().records.map(\.place) == [second.place])
        #expect(world.story.contains(.forgotten))
    }
}
