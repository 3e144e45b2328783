// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Benchmarking
internal import RedirectionEngine
internal import RedirectionModel

/// What the benchmarks have in common that end in a table.
struct TableOptions: ParsableArguments {
    @Option(help: "How many rounds go through all of them.")
    var rounds = 9

    @Option(help: "How many seconds a measurement takes.")
    var duration = 0.3

    @Option(help: "The seed of the order within rounds, and of the intervals.")
    var seed: UInt64 = 1

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        try checkCount("--rounds", rounds, 1...1000)
        try checkDuration(duration)
    }

    func run(_ body: @escaping @Sendable () async throws -> ReportTable) throws -> Never {
        try show(asJSON: json, body)
    }
}

private func show(
    asJSON json: Bool, _ body: @escaping @Sendable () async throws -> ReportTable
) throws -> Never {
    try runInterruptibly {
        let table = try await body()
        ProgressLine.end()
        if json {
            try Console.say(json: table)
        } else {
            Console.say(ReportText.table(table))
        }
    }
}

struct BenchNeighborsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "neighbors",
        abstract: "What a pod that nobody redirects pays for those that are.",
        discussion: """
            The same pod with nothing of ours in the kernel, and beside one that each mechanism \
            redirects, attached and detached within every round.
            """)

    @Option(help: "Beside what, with commas: ebpf,nft,legacy.")
    var mechanisms = ListArgument<Mechanism>([.ebpf, .nft, .legacy])

    @OptionGroup var table: TableOptions

    func run() throws {
        let bench = NeighborBench(
            beside: mechanisms.values, rounds: table.rounds, duration: .seconds(table.duration),
            seed: table.seed)
        try table.run { [table] in
            NeighborBench.table(
                try await bench.run(progress: ProgressLine.show), seed: table.seed)
        }
    }
}

extension Preset.Name: ExpressibleByArgument {}

struct BenchPublishedCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "published",
        abstract: "Our rules beside those that meshes publish, for the same policy.")

    @Argument(help: "A folder with the rules: PRESET.v4 and PRESET.v6, as iptables-save says them.")
    var rules: String

    @Option(help: "Whose, with commas.")
    var presets = ListArgument<Preset.Name>([.fsm, .istio])

    @OptionGroup var table: TableOptions

    func run() throws {
        let bench = try PublishedBench(
            presets.values, in: rules, rounds: table.rounds, duration: .seconds(table.duration),
            seed: table.seed)
        try table.run { try await bench.run(progress: ProgressLine.show) }
    }
}

struct BenchMemoryCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "memory", abstract: "What kernel memory a mechanism takes.")

    @Option(help: "Which, with commas: ebpf,nft,legacy.")
    var mechanisms = ListArgument<Mechanism>([.ebpf, .nft, .legacy])

    @Option(help: "For how many pods.")
    var pods = 32

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws { try checkCount("--pods", pods, 1...2000) }

    func run() throws {
        let bench = MemoryBench(mechanisms.values, pods: pods)
        try show(asJSON: json) { try await bench.run(progress: ProgressLine.show) }
    }
}

struct BenchToolsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tools",
        abstract: "The loads of wrk and iperf3 over the same pods, and ours beside them.")

    @Option(help: "What to compare, with commas.")
    var subjects = ListArgument(Subject.all)

    @OptionGroup var table: TableOptions

    func run() throws {
        let missing = ToolBench.missing
        guard missing.isEmpty else {
            throw ValidationError("not installed: \(missing.joined(separator: ", "))")
        }
        let bench = ToolBench(
            subjects.values, rounds: table.rounds, duration: .seconds(table.duration),
            seed: table.seed)
        try table.run { try await bench.run(progress: ProgressLine.show) }
    }
}
