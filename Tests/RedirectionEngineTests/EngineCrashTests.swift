// SPDX-License-Identifier: Apache-2.0

import Foundation
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Synchronization
import Testing

/// What the next process makes of whatever the last one left.
@Suite(.requiresKernel, .timeLimit(.minutes(2))) struct EngineCrashTests {
    /// What an engine does until it is interrupted.
    enum Work: String, CaseIterable, Sendable {
        case first = "a first plan"
        case plan = "another plan"
        case mechanism = "another mechanism"
        case lingering = "another mechanism, the old one lingering"
        case off = "no redirection"
        case removal = "a removal"

        typealias Carried = (mechanism: Mechanism?, plan: RedirectionPlan)

        /// What the record says before; `nil` for no record.
        func old(_ web: TestWorkload) -> Carried? { self == .first ? nil : (.ebpf, web.plan) }

        /// What the record says once it is done.
        func new(_ web: TestWorkload) -> Carried? {
            switch self {
            case .first: (.ebpf, web.plan)
            case .plan: (.ebpf, web.otherPlan)
            case .mechanism, .lingering: (.nft, web.plan)
            case .off: (nil, web.plan)
            case .removal: nil
            }
        }

        func start(_ engine: Engine, _ web: TestWorkload) async throws {
            guard self != .first else { return }
            try await engine.apply(web.plan, .ebpf, to: web.place)
        }

        func carryOut(_ engine: Engine, _ web: TestWorkload) async throws {
            switch self {
            case .first: try await engine.apply(web.plan, .ebpf, to: web.place)
            case .plan: try await engine.apply(web.otherPlan, .ebpf, to: web.place)
            case .mechanism, .lingering: try await engine.setMode(.nft, of: "web")
            case .off: try await engine.setMode(.none, of: "web")
            case .removal: try await engine.remove("web")
            }
        }
    }

    @Test(arguments: Work.allCases)
    func `whatever step a process ends at, the next one converges`(_ work: Work) async throws {
        let web = try TestWorkload()
        let world = EngineWorld()
        try await work.start(world.engine(), web)
        if work == .lingering { world.kernel.connect(2, by: .ebpf, in: "web") }
        let crashed = Mutex<[EngineWorld]>([])
        let engine = world.engine { _ in
            // The world as of right before the step, with no process in it.
            do {
                let copy = try world.copy()
                crashed.withLock { $0.append(copy) }
            } catch {
                Issue.record("\(error)")
            }
        }
        try await work.carryOut(engine, web)
        let worlds = crashed.withLock { $0 } + [try world.copy()]
        #expect(worlds.count > 4)
        for (step, found) in worlds.enumerated() {
            if work.old(web)?.mechanism != nil, work.new(web)?.mechanism != nil {
                #expect(try await found.isRedirected(web), "step \(step)")
            }
            // The first step is to write down what is begun.
            let wanted = step == 0 ? work.old(web) : work.new(web)
            try await Self.converges(found, web, work, to: wanted)
        }
    }

    private static func converges(
        _ world: EngineWorld, _ web: TestWorkload, _ work: Work, to wanted: Work.Carried?
    ) async throws {
        let engine = world.engine()
        #expect(await engine.recover() == [:])
        let records = engine.list().records
        #expect(records.count == (wanted == nil ? 0 : 1))
        #expect(records.first?.mechanism == wanted?.mechanism)
        #expect(records.first?.plan == wanted?.plan)
        #expect(world.files == records.map { "workloads/\($0.id).json" })
        let lingers = world.kernel.holders(of: "web").subtracting(records.flatMap(\.touched))
        #expect(lingers == [])
        for record in records {
            guard let mechanism = record.mechanism else { continue }
            #expect(try await world.installed(mechanism, web) == record.plan.fingerprint)
            if work != .lingering { #expect(record.touched == [mechanism]) }
        }
        if records.isEmpty { #expect(world.kernel.holders(of: "web") == []) }
        // And from there everything can go.
        if !records.isEmpty { try await engine.remove("web") }
        #expect(world.files == [])
        #expect(world.kernel.holders(of: "web") == [])
    }

    @Test func `a begun plan that cannot be had gives way to the old one`() async throws {
        let web = try TestWorkload()
        let world = EngineWorld()
        try await world.engine().apply(web.plan, .ebpf, to: web.place)
        let crashed = Mutex<EngineWorld?>(nil)
        try await world.engine { step in
            guard case .kernel = step else { return }
            let copy = try? world.copy()
            crashed.withLock { if $0 == nil { $0 = copy } }
        }.apply(web.otherPlan, .nft, to: web.place)
        let found = try #require(crashed.withLock { $0 })
        found.kernel.fail(.apply, of: .nft)
        #expect(await found.engine().recover() == [:])
        #expect(found.engine().list().records.map(\.plan) == [web.plan])
        #expect(found.kernel.holders(of: "web") == [.ebpf])
    }

    @Test func `a workload that is gone is forgotten`() async throws {
        let world = EngineWorld()
        do {
            let web = try TestWorkload()
            try await world.engine().apply(web.plan, .nft, to: web.place)
        }
        #expect(await world.engine().recover() == [:])
        #expect(world.files == [])
        #expect(world.story.last == .forgotten)
        #expect(world.kernel.holders(of: "web") == [])
    }

    @Test(arguments: [false, true])
    func `of what is on nobody's record only what is gone is given up`(
        _ isThere: Bool
    ) async throws {
        let (web, stray) = (try TestWorkload(), try TestWorkload("stray"))
        let world = EngineWorld(strays: isThere ? ["stray"] : [])
        try await world.engine().apply(web.plan, .nft, to: web.place)
        try await InMemoryBackend(as: .ebpf, in: world.kernel)
            .apply(stray.plan, to: stray.workload)
        #expect(await world.engine().recover() == [:])
        #expect(world.kernel.holders(of: "stray") == (isThere ? [.ebpf] : []))
        #expect(world.story.contains(.orphan("stray")) == isThere)
        #expect(world.kernel.holders(of: "web") == [.nft])
    }

    @Test func `nobody is forgotten for want of a descriptor to look with`() async {
        await #expect(processExitsWith: .success) {
            let web = try TestWorkload()
            let world = EngineWorld()
            try await world.engine().apply(web.plan, .nft, to: web.place)
            let record = try #require(try StateStore(world.state).record(of: "web"))
            let engine = world.engine()
            #expect(try await engine.isThere(record))
            var held: [FileHandle] = []
            try OpenFiles.limit(to: 64)
            // Bounded by the limit.
            while let handle = FileHandle(forReadingAtPath: "/dev/null") { held.append(handle) }
            await #expect(throws: EngineError.self) { _ = try await engine.isThere(record) }
            #expect(throws: KernelError.self) { try Directory(path: "/proc").contents() }
            let failures = await engine.recover()
            for handle in held { try handle.close() }
            #expect(!failures.isEmpty)
            #expect(world.files == ["workloads/web.json"])
            #expect(world.kernel.holders(of: "web") == [.nft])
            #expect(!world.story.contains(.forgotten))
            #expect(await world.engine().recover() == [:])
        }
    }

    @Test func `a record that cannot be read does not keep a pod from coming back`() async throws {
        let world = EngineWorld()
        do {
            let first = try TestWorkload()
            try await world.engine().apply(first.plan, .nft, to: first.place)
        }
        let odd = world.state + "/workloads/a.json"
        try Data(#"{"version": 9}"#.utf8).write(to: URL(filePath: odd))
        let second = try TestWorkload()
        try await world.engine().apply(second.otherPlan, .nft, to: second.place)
        #expect(try await world.installed(.nft, second) == second.otherPlan.fingerprint)
        #expect(world.story.contains { if case .failed = $0 { true } else { false } })
    }

    @Test func `a record that cannot be read stops nobody else's recovery`() async throws {
        let web = try TestWorkload()
        let world = EngineWorld()
        try await world.engine().apply(web.plan, .nft, to: web.place)
        world.kernel.lose(.nft, of: "web")
        let stray = try TestWorkload("a")
        try await InMemoryBackend(as: .ebpf, in: world.kernel)
            .apply(stray.plan, to: stray.workload)
        let odd = world.state + "/workloads/a.json"
        try Data(#"{"version": 9}"#.utf8).write(to: URL(filePath: odd))
        let failures = await world.engine().recover()
        #expect(failures == ["a": .state(.newer(file: odd, version: 9, known: 1))])
        #expect(try await world.installed(.nft, web) == web.plan.fingerprint)
        #expect(try readFile(odd) == #"{"version": 9}"#)
        // Whose it is cannot be known, so it stays.
        #expect(world.kernel.holders(of: "a") == [.ebpf])
    }

    @Test func `two processes on one node take turns`() async throws {
        let world = EngineWorld()
        let workloads = try (0..<4).map { try TestWorkload("w\($0)") }
        let inside = Mutex<(Set<Int>, isShared: Bool)>(([], false))
        try await withThrowingTaskGroup { group in
            for number in 0..<2 {
                let engine = world.engine { step in
                    // From the first step of a workload to its last, no other process takes any.
                    guard case .state(let what) = step else { return }
                    inside.withLock { state in
                        if what.hasPrefix("begin") { state.0.insert(number) }
                        if state.0.count > 1 { state.isShared = true }
                        if what.hasPrefix("end") { state.0.remove(number) }
                    }
                }
                group.addTask {
                    for web in workloads {
                        for mode in [PolicyMode.ebpf, .nft, .legacy] {
                            try await engine.apply(web.plan, mode, to: web.place)
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        let isShared = inside.withLock { $0.isShared }
        #expect(!isShared)
        for web in workloads {
            #expect(try await world.installed(.legacy, web) == web.plan.fingerprint)
            #expect(world.kernel.holders(of: web.place.id) == [.legacy])
        }
    }

    @Test func `who waits too long for another process is told so`() async throws {
        let world = EngineWorld()
        let store = StateStore(world.state)
        try store.prepare()
        let held = try #require(try FileLock.tryTake(store.lock))
        let web = try TestWorkload()
        let engine = world.engine(patience: .milliseconds(50))
        await #expect(throws: EngineError.busy(lock: store.lock)) {
            try await engine.apply(web.plan, .nft, to: web.place)
        }
        withExtendedLifetime(held) {}
    }
}
