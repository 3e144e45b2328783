// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Benchmarking
internal import Lab

struct BenchPluginCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cni",
        abstract: "How long ADD and DEL take, beside iptables-restore(8) with the same rules.",
        discussion: """
            Starts agents and pods of its own. Each round adds a pod by every subject in turn, and \
            deletes it; times are from the start of the program that a runtime starts to its end.
            """)

    @Option(help: "What to compare, with commas; ratios are to the first.")
    var subjects = ListArgument(PluginBench.all)

    @Option(help: "How many pods the node has, with commas.")
    var counts = ListArgument([1, 50, 250])

    @Option(help: "How many rounds go through all of them.")
    var rounds = 100

    @Option(help: "The seed of the order within rounds, and of the intervals.")
    var seed: UInt64 = 1

    @Option(
        help: ArgumentHelp(
            "A directory in bpffs; in it, swerve-bench is made and removed.",
            valueName: "directory"))
    var pins = "/sys/fs/bpf"

    @Option(help: ArgumentHelp("The plugin (default: beside this program).", valueName: "file"))
    var plugin: String?

    @Option(help: ArgumentHelp("The agent (default: beside this program).", valueName: "file"))
    var agent: String?

    func validate() throws {
        for count in counts.values { try checkCount("--counts", count, 1...2000) }
        try checkCount("--rounds", rounds, 1...10_000)
    }

    func run() throws {
        let own = LabConfiguration.ownExecutable
        let folder = own[..<(own.lastIndex(of: "/") ?? own.startIndex)]
        let bench = PluginBench(
            subjects.values, counts: counts.values, rounds: rounds, seed: seed, pins: pins,
            .init(plugin: plugin ?? folder + "/swerve-cni", agent: agent ?? folder + "/swerved"))
        try runInterruptibly {
            let rows = try await bench.run(progress: ProgressLine.show)
            ProgressLine.end()
            Console.say(bench.markdown(rows))
        }
    }
}

extension PluginBench.Subject: ExpressibleByArgument {
    package init?(argument: String) {
        guard let subject = PluginBench.all.first(where: { "\($0)" == argument }) else {
            return nil
        }
        self = subject
    }

    package var defaultValueDescription: String { "\(self)" }
}
