// SPDX-License-Identifier: Apache-2.0

internal import EBPFBackend
internal import RedirectionEngine
package import RedirectionModel

/// Our rules beside those that a mesh publishes, for the same policy: its preset.
package struct PublishedBench: Sendable {
    private let pairs: [(ours: Subject, theirs: Subject)]
    private let bench: Bench

    /// For each preset that `directory` has rules of, and each mechanism that is made of rules.
    package init(
        _ presets: [Preset.Name], in directory: String, rounds: Int, duration: Duration,
        seed: UInt64, scenarios: [Scenario] = Scenario.all([.connect, .request])
    ) throws {
        let mechanisms = [Mechanism.legacy, .nft]
        pairs = try presets.flatMap { preset in
            let rules = try PublishedRules(preset, in: directory)
            return mechanisms.map { mechanism in
                var ours = Subject("\(preset) \(mechanism)", .redirected(mechanism, .preferred))
                ours.preset = preset
                ours.capturesLookups = false
                ours.families = rules.families
                var theirs = Subject(
                    "\(preset) \(mechanism), published", .published(rules, mechanism))
                theirs.preset = preset
                theirs.families = rules.families
                return (ours: ours, theirs: theirs)
            }
        }
        bench = Bench(
            subjects: pairs.flatMap { [$0.ours, $0.theirs] }, scenarios: scenarios,
            rounds: rounds, duration: duration, seed: seed)
    }

    /// Runs it; what it makes is gone when it returns, throws or is canceled.
    package func run(
        progress: @escaping @Sendable (BenchProgress) -> Void
    ) async throws -> ReportTable {
        let results = try await bench.onStage(progress: progress) { setting in
            try bench.measure(setting.stages, progress: progress)
        }
        return table(results)
    }

    private func table(_ measurements: [Measurement]) -> ReportTable {
        var table = ReportTable(
            "Our rules beside those that meshes publish",
            """
            The same policy twice: as our own rules, and as the rules that the mesh itself \
            installs, by the program it uses (iptables-restore, in its variant for nf_tables and in \
            that for ip_tables). Below 1, a latency says that ours are the faster; above 1, a rate does.
            """,
            columns: [
                "scenario", "policy and mechanism", "theirs, p50, µs", "ours, p50, µs",
                "p50, ours to theirs", "rate, ours to theirs", "CPU, ours to theirs",
            ], words: 2)
        for scenario in bench.scenarios {
            for pair in pairs {
                func find(_ subject: Subject) -> Measurement? {
                    measurements.first { $0.subject == subject && $0.scenario == scenario }
                }
                guard let ours = find(pair.ours), let theirs = find(pair.theirs) else { continue }
                let comparison = BenchReport.Comparison(ours, to: theirs, seed: bench.seed)
                let words = (scenario.name, pair.ours.name)
                table.add([
                    words.0, words.1, theirs.medianLatency?.short ?? "-",
                    ours.medianLatency?.short ?? "-",
                    table.keep(comparison?.latency, words.0, words.1, "latency"),
                    table.keep(comparison?.rate, words.0, words.1, "rate"),
                    table.keep(comparison?.cpu, words.0, words.1, "CPU"),
                ])
            }
        }
        return table
    }
}
