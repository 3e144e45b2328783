// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Benchmarking
internal import FoundationEssentials
internal import LinuxKernel

/// Where a report goes besides standard output.
struct ReportFiles: ParsableArguments {
    @Option(help: "Write everything that was measured to this file, as JSON.")
    var json: String?

    @Option(help: "Write a page with plots to this file.")
    var html: String?

    /// To be called before minutes are spent on what could not be kept.
    func check() throws {
        for path in [json, html].compactMap(\.self) {
            _ = try OwnedDescriptor.open(path, .append)
        }
    }

    func write(_ report: BenchReport) throws {
        ProgressLine.end()
        Console.say(ReportText(report).text)
        if let json { try write(Console.text(json: report), to: json) }
        if let html { try write(ReportPage(report).html, to: html) }
    }

    private func write(_ text: String, to path: String) throws {
        try OwnedDescriptor.open(path, .replace).write(text)
    }
}

struct BenchFullCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "full",
        abstract: "Everything that is measured, in one report: twenty minutes.",
        discussion: """
            All mechanisms side by side, on one node and across two, over IPv4 and IPv6; a minute of \
            churn for each; then who is not redirected, what meshes publish, lists, pods, memory, and, \
            where wrk and iperf3 are installed, their loads beside ours.
            """)

    @Option(help: "How many rounds go through all subjects.")
    var rounds = 7

    @Option(help: "How many seconds a measurement takes.")
    var duration = 0.2

    @Option(help: "How many seconds churn takes.")
    var churnDuration = 60.0

    @Option(help: "The seed of the order within rounds, and of the intervals.")
    var seed: UInt64 = 1

    @Option(help: "The processors for client, sidecar and server, with commas.")
    var cpus = ListArgument<UInt32>([])

    @Option(help: "How many seconds without an answer make a connection one that failed.")
    var patience = 5

    @Option(help: "How many pods there are besides one, with commas.")
    var pods = ListArgument([10, 100, 1000])

    @Option(help: "How many elements lists have besides one, with commas.")
    var lists = ListArgument([100, 10_000])

    @Option(help: "A folder with the rules that meshes publish: PRESET.v4, PRESET.v6.")
    var rules: String?

    @OptionGroup var files: ReportFiles

    func validate() throws {
        try checkCount("--rounds", rounds, 1...1000)
        try checkDuration(duration)
        try checkDuration(churnDuration, of: "--churn-duration")
        try checkCount("--patience", patience, 1...600)
        for count in pods.values { try checkCount("--pods", count, 1...2000) }
        for count in lists.values { try checkCount("--lists", count, 1...30_000) }
    }

    func run() throws {
        try files.check()
        let bench = FullBench(
            rounds: rounds, duration: .seconds(duration), churnDuration: .seconds(churnDuration),
            seed: seed, cpus: cpus.values, patience: UInt32(patience), pods: pods.values,
            lists: lists.values, publishedRules: rules)
        try runInterruptibly { [files] in
            let machine = try MachineDescription.current()
            let missing = ToolBench.missing
            if !missing.isEmpty {
                Console.complain("bench: no loads of others', for want of \(missing)")
            }
            let (results, tables) = try await bench.run(progress: ProgressLine.show)
            var report = BenchReport(
                bench.sideBySide, results, on: machine, version: Version.text,
                command: CommandLine.arguments)
            report.tables = tables
            try files.write(report)
        }
    }
}

struct BenchCompareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Tell whether two runs' ratios agree within their intervals.",
        discussion: "Fails where they do not.")

    @Argument(help: "What `--json` of the first run has written.")
    var first: String

    @Argument(help: "What that of the second has.")
    var second: String

    @Option(help: "How much wider, as a fraction, an interval is taken to be at either end.")
    var slack = 0.0

    func validate() throws {
        guard !(0...1).contains(slack) else { return }
        throw ValidationError("--slack \(slack): give a fraction from 0 to 1")
    }

    func run() throws {
        let comparison = BenchComparison(try report(first), try report(second))
        Console.say(comparison.text(within: slack))
        guard comparison.disagreeing(within: slack).isEmpty else { throw ExitCode.failure }
    }

    private func report(_ path: String) throws -> BenchReport {
        try JSONDecoder().decode(BenchReport.self, from: Data(try FileContent.read(path).bytes))
    }
}
