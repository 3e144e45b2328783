// SPDX-License-Identifier: Apache-2.0

internal import RedirectionEngine
internal import RedirectionModel

/// Everything that is measured, in one run and one report.
package struct FullBench: Sendable {
    package var rounds: Int
    package var duration: Duration
    package var churnDuration: Duration
    package var seed: UInt64
    package var cpus: [UInt32]
    package var patience: UInt32
    /// How many pods, and how many elements of a list, besides one.
    package var pods: [Int]
    package var lists: [Int]
    /// Where the rules are that meshes publish; `nil` leaves them out.
    package var publishedRules: String?

    package init(
        rounds: Int, duration: Duration, churnDuration: Duration, seed: UInt64, cpus: [UInt32],
        patience: UInt32, pods: [Int], lists: [Int], publishedRules: String?
    ) {
        self.rounds = rounds
        self.duration = duration
        self.churnDuration = churnDuration
        self.seed = seed
        self.cpus = cpus
        self.patience = patience
        self.pods = pods
        self.lists = lists
        self.publishedRules = publishedRules
    }

    private static let mechanisms = [Mechanism.ebpf, .nft, .legacy]

    /// On one node over IPv4 everything; elsewhere what could be otherwise there.
    package static let scenarios: [Scenario] =
        Scenario.all([.connect])
        + Scenario.all([.request], sizes: [1, 1024, 65536], connections: [1, 64])
        + Scenario.all([.request], sizes: [1], connections: [16])
        + Scenario.all([.bulk, .dns])
        + Scenario.all([.churn], [.outbound])
        + Scenario.all([.connect, .request, .bulk, .dns], families: [.ipv6])
        + Scenario.all([.connect, .request, .bulk], topologies: [.across])
        + Scenario.all([.connect], families: [.ipv6], topologies: [.across])

    package var sideBySide: Bench {
        Bench(
            subjects: Subject.all, scenarios: Self.scenarios, rounds: rounds, duration: duration,
            seed: seed, churnDuration: churnDuration, churnRounds: 1, cpus: cpus,
            patience: patience)
    }

    /// Runs it; what it makes is gone when it returns, throws or is canceled.
    package func run(
        progress: @escaping @Sendable (BenchProgress) -> Void
    ) async throws -> (results: BenchResults, tables: [ReportTable]) {
        let results = try await sideBySide.run(progress: progress)
        var tables: [ReportTable] = []
        let neighbors = NeighborBench(
            beside: Self.mechanisms, rounds: rounds, duration: duration, seed: seed)
        tables.append(
            NeighborBench.table(try await neighbors.run(progress: progress), seed: seed))
        if let publishedRules {
            let bench = try PublishedBench(
                [.fsm, .istio], in: publishedRules, rounds: rounds, duration: duration, seed: seed)
            tables.append(try await bench.run(progress: progress))
        }
        for (growth, counts) in [(SeriesBench.Growth.lists, lists), (.pods, pods)] {
            let series = SeriesBench(
                growth, [1] + counts, of: Self.mechanisms, rounds: rounds, duration: duration,
                seed: seed)
            tables.append(series.table(try await series.run(progress: progress).rows))
        }
        let memory = MemoryBench(Self.mechanisms, pods: 32)
        tables.append(try await memory.run(progress: progress))
        if ToolBench.missing.isEmpty {
            let tools = ToolBench(
                Subject.all, rounds: max(3, rounds / 2), duration: .seconds(1), seed: seed,
                cpus: cpus)
            tables.append(try await tools.run(progress: progress))
        }
        return (results, tables)
    }
}
