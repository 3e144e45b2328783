// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import TestedMechanisms
import Testing

/// The load that switches are judged by: it finds nothing where nothing is wrong, and each mistake.
@Suite(.requiresKernel, .serialized) struct TrafficLoadTests {
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `traffic through a mechanism that is left alone has no faults`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject, Self.leaveAlone)
        }
    }

    private static func leaveAlone(
        _ pod: TestPod, _ backend: any RedirectionBackend
    ) async throws {
        let outcome = try await TrafficLoad(pod).run { try await Task.sleep(for: .seconds(3)) }
        #expect(outcome.faults.isEmpty, "\(outcome.summary) \(outcome.faults)")
        for direction in Direction.allCases {
            #expect(outcome.connections[direction, default: 0] >= 40)
            #expect(outcome.blocks[direction, default: 0] > 100)
            #expect(outcome.probes[direction, default: 0] > 10)
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `rules that are taken away under their connections break them, and it is seen`() async {
        await #expect(processExitsWith: .success) {
            try await withRedirectedPod(by: .nft, Self.takeAway)
        }
    }

    private static func takeAway(
        from pod: TestPod, _ backend: any RedirectionBackend
    ) async throws {
        var settings = TrafficLoad.Settings()
        settings.patience = .seconds(2)
        let outcome = try await TrafficLoad(pod, settings).run {
            try await backend.remove(from: pod.workload)
            try await Task.sleep(for: .milliseconds(500))
            try await backend.apply(pod.plan, to: pod.workload)
            try await Task.sleep(for: .seconds(1))
        }
        for direction in Direction.allCases {
            let counts = outcome.counts[direction] ?? [:]
            #expect(counts[.unredirected, default: 0] > 0, "\(outcome.summary)")
            let broken = counts[.reset, default: 0] + counts[.stalled, default: 0]
            #expect(broken > 10, "\(outcome.summary)")
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `a sidecar on another port is missed by every new connection`() async {
        await #expect(processExitsWith: .success) {
            try await withRedirectedPod(by: .nft, Self.moveAway)
        }
    }

    private static func moveAway(
        from pod: TestPod, _ backend: any RedirectionBackend
    ) async throws {
        var elsewhere = pod.plan
        elsewhere.sidecar.outboundPort = 16001
        let outcome = try await TrafficLoad(pod).run {
            try await backend.apply(elsewhere, to: pod.workload)
            try await Task.sleep(for: .milliseconds(500))
            try await backend.apply(pod.plan, to: pod.workload)
        }
        #expect(outcome.counts[.outbound, default: [:]][.failed, default: 0] > 0)
        #expect(outcome.counts[.inbound, default: [:]].isEmpty, "\(outcome.faults)")
    }
}
