// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser

/// Measures what redirection costs.
///
/// Compares within one run, and asserts nothing.
@main
struct TrafficBench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "traffic-bench",
        abstract: "Measure what redirection costs, mechanism by mechanism (root).",
        subcommands: [ListsCommand.self, StartCommand.self])
}

/// `traffic-bench lists`: what longer lists cost, at apply and at connect.
struct ListsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lists",
        abstract: "Compile, apply and connect, against the length of a plan's lists.")

    @Option(help: "How many elements each list has, with commas.")
    var sizes = "1,100,10000"

    @Option(help: "How many interleaved rounds.")
    var rounds = 15

    @Option(help: "How many connections a round and cell.")
    var connections = 200

    func validate() throws {
        guard lengths.count == sizes.split(separator: ",").count, !lengths.isEmpty else {
            throw ValidationError("--sizes \(sizes): give numbers from 1 to 30000 with commas")
        }
        guard (3...1000).contains(rounds) else {
            throw ValidationError("--rounds \(rounds): give a number from 3 to 1000")
        }
        guard (10...10_000).contains(connections) else {
            throw ValidationError("--connections \(connections): give a number from 10 to 10000")
        }
    }

    private var lengths: [Int] {
        sizes.split(separator: ",").compactMap { Int($0) }.filter { (1...30_000).contains($0) }
    }

    func run() async throws {
        let bench = ListBench(lengths: lengths, rounds: rounds, connections: connections)
        let results = try await bench.run()
        print(results.markdown)
    }
}

/// `traffic-bench start`: what a runtime waits for a plugin, from exec to exit.
struct StartCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start",
        abstract: "Start CNI plugins with VERSION, which asks nobody, and wait for their end.")

    @Argument(help: "The plugins to compare.")
    var programs: [String]

    @Option(help: "How many rounds, through all of them in turn.")
    var rounds = 50

    func validate() throws {
        guard (3...10_000).contains(rounds) else {
            throw ValidationError("--rounds \(rounds): give a number from 3 to 10000")
        }
    }

    func run() throws {
        print(try StartBench(programs: programs, rounds: rounds).run())
    }
}
