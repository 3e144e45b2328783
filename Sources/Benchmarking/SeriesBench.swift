// SPDX-License-Identifier: Apache-2.0

internal import EBPFBackend
internal import IPTablesBackend
internal import LinuxKernel
package import RedirectionEngine
internal import RedirectionModel
internal import SeededRandom

/// What becomes of a mechanism's costs as something grows: its plan's lists, or its pods.
package struct SeriesBench: Sendable {
    package enum Growth: String, Sendable {
        /// Each of the plan's lists has so many elements, none matching: all must be looked through.
        case lists
        /// The node has so many pods.
        case pods
    }

    private let growth: Growth
    private let counts: [Int]
    private let bench: Bench

    package init(
        _ growth: Growth, _ counts: [Int], of mechanisms: [Mechanism], rounds: Int,
        duration: Duration, seed: UInt64
    ) {
        self.growth = growth
        self.counts = counts
        let subjects = mechanisms.flatMap { mechanism in
            counts.map { Self.subject(growth, $0, mechanism) }
        }
        bench = Bench(
            subjects: subjects, scenarios: [Scenario(.connect, .outbound)], rounds: rounds,
            duration: duration, seed: seed)
    }

    private static func subject(
        _ growth: Growth, _ count: Int, _ mechanism: Mechanism
    ) -> Subject {
        var subject = Subject(
            "\(mechanism) \(count)", .redirected(mechanism, InboundMethod.preferred))
        switch growth {
        case .lists: subject.listLength = count
        case .pods: subject.podCount = count
        }
        return subject
    }

    /// One mechanism at one size.
    package struct Row: Codable, Sendable {
        package let mechanism: Mechanism
        package let count: Int
        /// Milliseconds, a plan.
        package let compile: Double
        package let apply: Double
        package let remove: Double
        /// The median latency of connect(2) in each round, in microseconds.
        package let connect: [Double]
        package let toFirst: Ratio?
        /// What a pod more takes in BPF maps.
        package let bytesPerPod: Int?
    }

    /// What a run has found, and what this kernel does not have.
    package struct Results: Sendable {
        package let rows: [Row]
        package let skipped: [SkippedSubject]
    }

    /// Runs it; what it makes is gone when it returns, throws or is canceled.
    package func run(
        progress: @escaping @Sendable (BenchProgress) -> Void
    ) async throws -> Results {
        try await bench.onStage(progress: progress) { setting in
            let measurements = try bench.measure(setting.stages, progress: progress)
            let latencies = Dictionary(
                uniqueKeysWithValues: measurements.map {
                    ($0.subject, $0.rounds.compactMap(\.latency))
                })
            var rows: [Row] = []
            for stage in setting.stages {
                if let row = try await row(of: stage, latencies) { rows.append(row) }
            }
            return Results(rows: rows, skipped: setting.skipped)
        }
    }

    /// Ends the stage, for how long that takes is part of it.
    private func row(of stage: Stage, _ latencies: [Subject: [Double]]) async throws -> Row? {
        let subject = stage.subject
        guard case .redirected(let mechanism, _) = subject.way,
            let connect = latencies[subject], let least = counts.first,
            let first = latencies[Self.subject(growth, least, mechanism)]
        else { return nil }
        return Row(
            mechanism: mechanism,
            count: growth == .lists ? subject.listLength : subject.podCount,
            compile: compileTime(of: stage), apply: Sample(stage.applyTimes).median,
            remove: Sample(try await stage.remove()).median, connect: connect,
            toFirst: Ratio(connect, to: first, seed: bench.seed),
            bytesPerPod: stage.mapBytes.map { $0 / max(1, stage.applyTimes.count) })
    }

    /// The median of three times, in milliseconds.
    private func compileTime(of stage: Stage) -> Double {
        let plan = stage.pod.plan(for: stage.subject)
        let times = (0..<3).map { _ in
            ContinuousClock().measure {
                if case .redirected(.ebpf, _) = stage.subject.way {
                    _ = EBPFBackend.compile(plan)
                } else {
                    _ = RuleSet(plan)
                }
            }.milliseconds
        }
        return Sample(times).median
    }
}

extension SeriesBench {
    /// Rows as a table of a report.
    package func table(_ rows: [Row]) -> ReportTable {
        var table =
            growth == .lists
            ? ReportTable(
                "What longer lists cost",
                """
                Plans whose lists of excluded ports, networks and users have so many elements \
                each, none of which a connection matches: all must be looked through.
                """, columns: columns, words: 1)
            : ReportTable(
                "What more pods cost",
                """
                So many pods of the same mechanism on the node; one of them connects. Rules are each \
                pod's own; programs are the node's, and a pod is an entry in a map.
                """, columns: columns, words: 1)
        for row in rows {
            table.add([
                "\(row.mechanism)", "\(row.count)", row.compile.short, row.apply.short,
                row.remove.short, Sample(row.connect).text,
                table.keep(row.toFirst, "\(row.mechanism)", "\(row.count)"),
                row.bytesPerPod.map(String.init) ?? "-",
            ])
        }
        return table
    }

    private var columns: [String] {
        [
            "mechanism", growth == .lists ? "elements a list" : "pods", "compile, ms",
            "apply, ms", "remove, ms", "connect, µs", "to the least", "BPF maps, bytes a pod",
        ]
    }
}
