// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import TestedMechanisms
import Testing

/// Ten thousand connections through each mechanism, in two pods at once, 64 at a time.
@Suite(.requiresKernel, .serialized) struct LoadTests {
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases, Direction.allCases)
    func `no connection is lost or taken for another, and nothing is left of them`(
        _ subject: Subject, _ direction: Direction
    ) async {
        await #expect(processExitsWith: .success) { [subject, direction] in
            try await withTestCgroup { cgroup in
                let backend = try await subject.make(attachingTo: cgroup)
                // Alike in everything but their namespaces.
                let pods = [try TestPod.create("one"), try TestPod.create("other")]
                for pod in pods { try await backend.apply(pod.plan, to: pod.workload) }
                let rules = try pods.map { try StockTool.Snapshot(of: $0.namespace) }
                let entries = try await (backend as? EBPFBackend)?.occupancy()

                let loads = pods.map { ConnectionLoad(direction, $0, connectionsPerFamily: 2500) }
                for load in loads { try load.start(concurrency: 32) }
                for load in loads {
                    let outcome = try await load.finish()
                    #expect(outcome.failures.isEmpty, "\(outcome.failures.prefix(5))")
                    #expect(outcome.answered == [.ipv4: 2500, .ipv6: 2500])
                    if subject.keepsEverySourcePort(direction) {
                        #expect(outcome.renumbered == 0)
                    }
                }

                if let ebpf = backend as? EBPFBackend, let entries {
                    #expect(try await settledOccupancy(of: ebpf, at: entries) == entries)
                    #expect(try await ebpf.failures().values.allSatisfy { $0 == 0 })
                }
                #expect(try pods.map { try StockTool.Snapshot(of: $0.namespace) } == rules)
                for pod in pods { try await backend.remove(from: pod.workload) }
                try await checkNothingIsLeft(of: backend, in: pods)
            }
        }
    }
}

extension Subject {
    /// Whether the sidecar always sees the client's own port.
    ///
    /// A client may use one port towards two origins. Rewritten, both connections would be one, so
    /// what rewrites packets (netfilter, and tc) gives the later one another source port.
    fileprivate func keepsEverySourcePort(_ direction: Direction) -> Bool {
        switch (self, direction) {
        case (.socketLookup, _), (.trafficControl, .outbound), (.attachment, .outbound): true
        case (.trafficControl, .inbound), (.attachment, .inbound), (.nft, _), (.legacy, _): false
        }
    }
}

/// Waits for the maps to hold what they held before; `patience` is how long at most.
func settledOccupancy(
    of backend: EBPFBackend, at rest: [String: Int], within patience: Duration = .seconds(10)
) async throws -> [String: Int] {
    let limit = ContinuousClock.now + patience
    var counts = try await backend.occupancy()
    while counts != rest, ContinuousClock.now < limit {
        try await Task.sleep(for: .milliseconds(100))
        try await backend.sweep()
        counts = try await backend.occupancy()
    }
    return counts
}

private func checkNothingIsLeft(
    of backend: any RedirectionBackend, in pods: [TestPod]
) async throws {
    if let ebpf = backend as? EBPFBackend {
        #expect(try await ebpf.occupancy().values.allSatisfy { $0 == 0 })
    }
    for pod in pods {
        let rules = try StockTool.Snapshot(of: pod.namespace)
        #expect(rules.nft.isEmpty)
        for table in [rules.ipv4, rules.ipv6] {
            // A legacy table cannot be unmade, but it can be as empty as a new one.
            #expect(!table.contains("-A "))
            #expect(!table.contains(" - ["))
        }
        let filters = try StockTool.run("tc", "filter", "show", "dev", "eth0", in: pod.namespace)
        #expect(filters == .init(status: 0, output: ""))
        #expect(try await backend.installed(in: pod.workload) == nil)
    }
}
