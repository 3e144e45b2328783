// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Benchmarking
internal import RedirectionEngine

/// What the benchmarks have in common that measure one thing while another grows.
struct SeriesOptions: ParsableArguments {
    @Option(help: "What redirects, with commas: ebpf,nft,legacy.")
    var mechanisms = ListArgument<Mechanism>([.ebpf, .nft, .legacy])

    @OptionGroup var table: TableOptions

    func run(_ growth: SeriesBench.Growth, _ counts: [Int]) throws -> Never {
        let bench = SeriesBench(
            growth, counts, of: mechanisms.values, rounds: table.rounds,
            duration: .seconds(table.duration), seed: table.seed)
        try table.run {
            let results = try await bench.run(progress: ProgressLine.show)
            for skipped in results.skipped { Console.complain("bench: \(skipped)") }
            return bench.table(results.rows)
        }
    }
}

struct BenchListsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lists", abstract: "What longer lists cost, at apply and at connect.")

    @OptionGroup var options: SeriesOptions

    @Option(help: "How many elements each list has, with commas.")
    var sizes = ListArgument([1, 100, 10_000])

    func validate() throws {
        for size in sizes.values { try checkCount("--sizes", size, 1...30_000) }
    }

    func run() throws { try options.run(.lists, sizes.values) }
}

struct BenchPodsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pods", abstract: "What more pods on a node cost, at apply and at connect.")

    @OptionGroup var options: SeriesOptions

    @Option(help: "How many pods, with commas.")
    var counts = ListArgument([1, 10, 100, 1000])

    func validate() throws {
        for count in counts.values { try checkCount("--counts", count, 1...2000) }
    }

    func run() throws { try options.run(.pods, counts.values) }
}

struct BenchStartCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start",
        abstract: "Start CNI plugins with VERSION, which asks nobody, and wait for their end.")

    @Argument(help: "The plugins to compare.")
    var programs: [String]

    @Option(help: "How many rounds, through all of them in turn.")
    var rounds = 50

    func validate() throws { try checkCount("--rounds", rounds, 3...10_000) }

    func run() throws { Console.say(try StartBench(programs: programs, rounds: rounds).run()) }
}

func checkCount(_ option: String, _ value: Int, _ range: ClosedRange<Int>) throws {
    guard !range.contains(value) else { return }
    throw ValidationError(
        "\(option) \(value): give a number from \(range.lowerBound) to \(range.upperBound)")
}

func checkDuration(_ seconds: Double, of option: String = "--duration") throws {
    guard !(0.05...600).contains(seconds) else { return }
    throw ValidationError("\(option) \(seconds): give seconds from 0.05 to 600")
}
