// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import Foundation
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import Synchronization
import SystemPackage
import Testing

@testable import NodeAgent

/// How the agent begins, and how it ends.
@Suite(.requiresKernel, .timeLimit(.minutes(3))) struct LifeTests {
    @Test func `what was begun comes to its end, also for a client that is cut off`() async throws {
        let (agent, daemon) = TestAgent.make(grace: .zero)
        defer { try? FileManager.default.removeItem(atPath: agent.state) }
        let run = Task { try await daemon.run() }
        try await agent.waitUntilReady(run)
        let store = StateStore(agent.state)
        let pod = try ToldPod("a1")
        // Somebody else is in charge of the node for now.
        var lock: FileLock? = try await FileLock.take(store.lock, within: .seconds(60))
        let reply = Task { try await agent.ask("POST", "/v1/cni/add", pod.body) }
        for _ in 0..<3000 where daemon.requests.count == 0 {
            try await Task.sleep(for: .milliseconds(10))
        }
        run.cancel()
        _ = try? await reply.value
        #expect(daemon.requests.count == 1)
        let isOver = Mutex(false)
        async let end: Void = {
            _ = try? await run.value
            isOver.withLock { $0 = true }
        }()
        // However long this takes: the agent does not end before the request does.
        try await Task.sleep(for: .milliseconds(300))
        #expect(!isOver.withLock { $0 })
        withExtendedLifetime(lock) {}
        lock = nil
        await end
        #expect(daemon.requests.count == 0)
        #expect(try store.record(of: pod.id)?.mechanism != nil)
    }

    @Test func `what could not be recovered is told of for as long as that is so`() async throws {
        let state = "/tmp/swerve-agent-\(UInt32.random(in: 0 ... .max))"
        let store = StateStore(state)
        try store.prepare()
        let file = store.records.path + "/web.json"
        try Data("garbage".utf8).write(to: URL(filePath: file))
        try await TestAgent.with(state: state, period: .milliseconds(100)) { agent in
            let before = try await agent.ask("POST", "/v1/cni/status").text
            #expect(before.contains(#""ready":true,"limited":true"#))
            #expect(before.contains("not recovered: web"))
            try FileManager.default.removeItem(atPath: file)
            var after = before
            for _ in 0..<3000 where after.contains("web") {
                try await Task.sleep(for: .milliseconds(10))
                after = try await agent.ask("POST", "/v1/cni/status").text
            }
            #expect(after.contains(#""ready":true,"limited":false"#))
        }
    }

    @Test func `who was kept from looking has not looked`() async throws {
        let assessments = InMemoryMechanisms(InMemoryKernel()).assessments
        let readiness = Readiness { assessments }
        let busy: [Workload.ID: EngineError] = [
            "db": .busy(lock: "lock"), "web": .failed("is gone"),
        ]
        await readiness.note(busy, canList: true)
        #expect(await !readiness.status.ready)
        await readiness.note(["the node": .failed("no directory")], canList: false)
        #expect(await !readiness.status.ready)
        await readiness.note(["web": .failed("is gone")], canList: true)
        #expect(await readiness.status.ready)
        #expect(await readiness.status.reason == "not recovered: web")
        // Later on, that others are in charge says nothing about any workload.
        await readiness.note(["db": .busy(lock: "lock")], canList: true)
        #expect(await readiness.status.reason == "not recovered: web")
        await readiness.note([:], canList: true)
        #expect(await readiness.status.ready)
        #expect(await !readiness.status.limited)
    }

    @Test func `of many refusals a second, one is told`() {
        let pace = Pace()
        let start = ContinuousClock.now
        #expect(pace.take(now: start) == 0)
        for _ in 0..<5 { #expect(pace.take(now: start + .milliseconds(999)) == nil) }
        #expect(pace.take(now: start + .seconds(1)) == 5)
        #expect(pace.take(now: start + .seconds(3)) == 0)
    }

    @Test(arguments: [Errno.tooManyOpenFiles, .noMemory])
    func `want of descriptors or memory is no fault of the pod's`(errno: Errno) {
        let refusal = AgentRefusal(.unreachable("web", KernelError("open", errno)))
        #expect(refusal.status == 503 && refusal.error.retryable)
        let gone = AgentRefusal(.unreachable("web", KernelError("open", .noSuchFileOrDirectory)))
        #expect(gone.status == 422 && !gone.error.retryable)
    }
}
