// SPDX-License-Identifier: Apache-2.0

internal import Backends
internal import EBPFBackend
internal import LinuxKernel
package import RedirectionEngine
internal import RedirectionModel

/// What a mechanism costs those who have nothing to do with it: a pod that nobody redirects, while
/// another one on the node is, and while there is nothing of ours in the kernel at all.
///
/// Hooks of the kernel are switched on for everybody by whoever attaches something to one (static
/// keys), so what is attached must go, and come back, between the measurements of a round.
package struct NeighborBench: Sendable {
    private let bench: Bench
    private let mechanisms: [Mechanism]

    package init(
        beside mechanisms: [Mechanism], rounds: Int, duration: Duration, seed: UInt64,
        scenarios: [Scenario] = Scenario.all([.connect, .request])
    ) {
        self.mechanisms = mechanisms
        bench = Bench(
            subjects: [], scenarios: scenarios, rounds: rounds, duration: duration, seed: seed)
    }

    /// What is there while the pod is measured.
    private struct Neighbor: Hashable {
        /// `nil`: nothing of ours.
        let mechanism: Mechanism?

        var subject: Subject { Subject(mechanism.map { "beside \($0)" } ?? "nothing", .direct) }
    }

    /// Runs it; what it makes is gone when it returns, throws or is canceled.
    package func run(
        progress: @escaping @Sendable (BenchProgress) -> Void
    ) async throws -> [Measurement] {
        try await bench.onStage(progress: progress) { setting in
            let assessments = Backends.assess()
            let there = mechanisms.filter { mechanism in
                assessments.first { $0.mechanism == mechanism }?.missing.isEmpty ?? false
            }
            let neighbors = [Neighbor(mechanism: nil)] + there.map(Neighbor.init)
            let stage = try await Stage.build(
                Subject("nothing", .direct), firstPod: 0, at: setting.site)
            let other = try BenchPod.createIdle(1, on: stage.node, outside: stage.node)
            return try await measure(stage, other, neighbors, setting.site, progress)
        }
    }

    private func measure(
        _ stage: Stage, _ other: BenchPod, _ neighbors: [Neighbor], _ site: Stage.Site,
        _ progress: @Sendable (BenchProgress) -> Void
    ) async throws -> [Measurement] {
        var random = bench.order
        var found = neighbors.map { neighbor in
            bench.scenarios.map { Measurement(neighbor.subject, $0) }
        }
        for round in 1...bench.rounds {
            for index in neighbors.indices.shuffled(using: &random) {
                let neighbor = neighbors[index]
                let turn = "round \(round) of \(bench.rounds), \(neighbor.subject.name)"
                progress(BenchProgress("unmanaged", turn))
                try await beside(neighbor, other, on: stage.node, site) {
                    for (number, scenario) in bench.scenarios.enumerated() {
                        let result = try stage.measure(scenario, for: bench.duration)
                        found[index][number].add(result)
                    }
                }
            }
        }
        let all = found.flatMap(\.self)
        for measurement in all { try measurement.check() }
        return all
    }

    /// Runs `body` while the other pod is redirected, and takes away what does that.
    private func beside(
        _ neighbor: Neighbor, _ other: BenchPod, on node: Cgroup, _ site: Stage.Site,
        _ body: () throws -> Void
    ) async throws {
        if let mechanism = neighbor.mechanism {
            let backend = try await Backends.make(
                mechanism, on: node, inbound: .preferred, lockFile: site.lockFile)
            try await backend.apply(other.plan(for: neighbor.subject), to: other.workload)
            try body()
            try await backend.remove(from: other.workload)
            // With its last owner a backend's programs are detached.
            withExtendedLifetime(backend) {}
        } else {
            guard try BPFMemory.lockedBytes() == 0 else { throw BenchError.stillAttached }
            try body()
        }
    }

    /// Scenario by scenario, with ratios to nothing.
    package static func table(_ measurements: [Measurement], seed: UInt64) -> ReportTable {
        var table = ReportTable(
            "A pod that nobody redirects",
            """
            The same pod, never redirected, without a sidecar: with nothing of ours in the kernel, \
            and while another pod of the node is redirected by a mechanism. What is attached \
            switches hooks on for everybody, so it is attached and detached between the \
            measurements of each round.
            """,
            columns: [
                "scenario", "in the kernel", "p50, µs", "to nothing", "rate", "rate to nothing",
                "CPU to nothing",
            ], words: 2)
        let names = measurements.map(\.scenario.name)
        let inOrder = measurements.enumerated().sorted {
            let places = [$0, $1].map { names.firstIndex(of: $0.element.scenario.name) ?? 0 }
            return (places[0], $0.offset) < (places[1], $1.offset)
        }
        for (_, measurement) in inOrder {
            let (scenario, subject) = (measurement.scenario.name, measurement.subject.name)
            let baseline = measurements.first {
                $0.scenario == measurement.scenario && $0.subject.name == "nothing"
            }
            let comparison = BenchReport.Comparison(measurement, to: baseline, seed: seed)
            table.add([
                scenario, subject, measurement.medianLatency?.short ?? "-",
                table.keep(comparison?.latency, scenario, subject, "latency"),
                measurement.medianRate.short,
                table.keep(comparison?.rate, scenario, subject, "rate"),
                table.keep(comparison?.cpu, scenario, subject, "CPU"),
            ])
        }
        return table
    }
}
