// SPDX-License-Identifier: Apache-2.0

internal import Lab
internal import LinuxKernel
package import RedirectionEngine
internal import RedirectionModel
internal import SeededRandom

/// How long a runtime waits for ADD and DEL, beside programs that do the same by iptables-restore(8).
package struct PluginBench: Sendable {
    /// Who makes a pod's rules.
    package enum Subject: Hashable, Sendable {
        /// The plugin is started, and asks its agent.
        case plugin(Mechanism)
        /// iptables-restore is started in the pod's namespace, for each family, with the rules of
        /// `legacy`: what plugins of meshes do, without what it takes to start those.
        case restore(Tool)
    }

    package enum Tool: String, Sendable {
        case legacy, nft
    }

    /// Where the programs are.
    package struct Programs: Sendable {
        package let plugin: String
        package let agent: String

        package init(plugin: String, agent: String) {
            self.plugin = plugin
            self.agent = agent
        }
    }

    package static let all =
        [Subject.restore(.legacy), .restore(.nft)] + Mechanism.allCases.map(Subject.plugin)

    private let subjects: [Subject]
    private let counts: [Int]
    private let rounds: Int
    private let seed: UInt64
    private let pins: Directory
    private let programs: Programs

    /// `pins`: a directory in bpffs, in which the agents have one.
    package init(
        _ subjects: [Subject], counts: [Int], rounds: Int, seed: UInt64, pins: String,
        _ programs: Programs
    ) {
        self.subjects = subjects
        self.counts = counts.sorted()
        self.rounds = rounds
        self.seed = seed
        // Never what the caller names: that may be anything, and this is removed.
        self.pins = Directory(path: pins).child("swerve-bench")
        self.programs = programs
    }

    /// The first ones load programs, make tables and fill caches, and do not count.
    private static let warmUp = 3

    /// One subject with so many pods.
    package struct Row: Sendable {
        package let subject: Subject
        package let pods: Int
        package let add: Times
        package let delete: Times
        /// The agent's memory, with all of them.
        package let kibibytes: Int?
    }

    /// How long something took, round by round.
    package struct Times: Sendable {
        package private(set) var latencies = Latencies()
        package private(set) var milliseconds: [Double] = []

        mutating func add(_ nanoseconds: UInt64) {
            latencies.record(nanoseconds)
            milliseconds.append(Double(nanoseconds) / 1e6)
        }
    }

    /// Runs it; what it makes is gone when it returns, throws or is canceled.
    package func run(progress: @escaping @Sendable (BenchProgress) -> Void) async throws -> [Row] {
        _ = try? OpenFiles.raiseLimit()
        // A run that was killed may have left some.
        try pins.removeTree()
        defer { try? pins.removeTree() }
        return try await Lab.guarded(.run, by: LabConfiguration.ownExecutable) { identity in
            try pins.create()
            var nodes: [PluginNode] = []
            for (number, subject) in subjects.enumerated() {
                progress(BenchProgress("starting agents", "\(subject)"))
                nodes.append(try PluginNode(subject, number, identity, pins, programs))
            }
            var random = SplitMix64(seed: seed)
            var rows: [Row] = []
            for count in counts {
                for index in nodes.indices {
                    progress(BenchProgress("adding pods", "\(count) by \(nodes[index].subject)"))
                    try nodes[index].grow(to: count - 1)
                }
                rows += try measure(&nodes, count, &random, progress)
            }
            return rows
        }
    }

    private func measure(
        _ nodes: inout [PluginNode], _ count: Int, _ random: inout SplitMix64,
        _ progress: @Sendable (BenchProgress) -> Void
    ) throws -> [Row] {
        var times = nodes.map { _ in (add: Times(), delete: Times()) }
        for round in 0..<(rounds + Self.warmUp) {
            for index in nodes.indices.shuffled(using: &random) {
                progress(
                    BenchProgress(
                        "\(count) pods", "round \(round) of \(rounds), \(nodes[index].subject)"))
                let (add, delete) = try nodes[index].measure()
                guard round >= Self.warmUp else { continue }
                times[index].add.add(add)
                times[index].delete.add(delete)
            }
            // Or the kernel would take a subject's pod apart during the next one's turn.
            for index in nodes.indices { try nodes[index].release() }
        }
        return try zip(nodes, times).map { node, times in
            Row(
                subject: node.subject, pods: count, add: times.add, delete: times.delete,
                kibibytes: try node.residentKibibytes())
        }
    }

    /// Rows as tables in Markdown; ratios are to the first subject's of the same rounds.
    package func markdown(_ rows: [Row]) -> String {
        let name = worst == 100 ? "max" : "p\(worst.short)"
        var lines = [
            "| | pods | ADD p50, ms | \(name), ms | to \(subjects[0]) | DEL p50, ms "
                + "| \(name), ms | to \(subjects[0]) | agent, MiB |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for row in rows {
            let base = rows.first { $0.pods == row.pods && $0.subject == subjects[0] }
            let memory = row.kibibytes.map { (Double($0) / 1024).short } ?? "-"
            lines.append(
                "| \(row.subject) | \(row.pods) | \(cells(row.add, to: base?.add)) "
                    + "| \(cells(row.delete, to: base?.delete)) | \(memory) |")
        }
        return lines.joined(separator: "\n") + growth(rows).map { "\n" + $0 }.joined()
    }

    /// The percentile beside the median: of a few rounds, the 99th is but another name of the worst.
    private var worst: Double { rounds < 1000 ? 100 : 99 }

    private func cells(_ times: Times, to base: Times?) -> String {
        let ratio = base.flatMap { Ratio(times.milliseconds, to: $0.milliseconds, seed: seed) }
        let percentiles = [50, worst].map { percentile in
            ((times.latencies.microseconds(atPercentile: percentile) ?? .nan) / 1000).short
        }
        return (percentiles + [ratio?.text ?? "-"]).joined(separator: " | ")
    }

    /// What a pod more is in the agent's memory, between the fewest and the most.
    private func growth(_ rows: [Row]) -> [String] {
        subjects.compactMap { subject in
            let mine = rows.filter { $0.subject == subject }
            guard let first = mine.first, let last = mine.last, first.pods < last.pods,
                let least = first.kibibytes, let most = last.kibibytes
            else { return nil }
            let bytes = Double(most - least) / Double(last.pods - first.pods)
            return "\(subject): \(bytes.short) KiB of the agent's memory a pod"
        }
    }

    /// A program that did not do what it was started for.
    struct Failure: Error, CustomStringConvertible {
        let what: String
        let said: String

        var description: String { "\(what): \(said)" }
    }
}

extension PluginBench.Subject: CustomStringConvertible {
    package var description: String {
        switch self {
        case .plugin(let mechanism): mechanism.rawValue
        case .restore(let tool): "iptables-\(tool.rawValue)-restore"
        }
    }
}
