// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Benchmarking
internal import FoundationEssentials
internal import LinuxKernel
internal import RedirectionModel
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#endif

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure what redirection costs, mechanism by mechanism (root).",
        subcommands: [
            BenchRunCommand.self, BenchFullCommand.self, BenchListsCommand.self,
            BenchPodsCommand.self, BenchNeighborsCommand.self, BenchPublishedCommand.self,
            BenchMemoryCommand.self, BenchToolsCommand.self, BenchCompareCommand.self,
            BenchStartCommand.self,
        ],
        defaultSubcommand: BenchRunCommand.self)
}

extension Scenario.Kind: ExpressibleByArgument {}
extension Direction: ExpressibleByArgument {}
extension Topology: ExpressibleByArgument {}

/// `4` or `6`.
enum FamilyArgument: String, CaseIterable, ExpressibleByArgument {
    case ipv4 = "4"
    case ipv6 = "6"

    var family: AddressFamily { self == .ipv4 ? .ipv4 : .ipv6 }
}

struct BenchRunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "All mechanisms side by side, and what is without.",
        discussion: """
            In namespaces and cgroups of its own, gone when it ends. Rounds go through all subjects \
            in turn, so that what drifts on the machine drifts for all: ratios are what to look at. \
            direct: no sidecar. manual: the client dials the sidecar, which is what any redirection \
            costs at least.
            """)

    @Option(
        help: "What to compare, with commas: \(Subject.all.map(\.name).joined(separator: ",")).")
    var subjects = ListArgument(Subject.all)

    @Option(help: "What to do, with commas: connect,request,bulk,churn,dns.")
    var scenarios = ListArgument(Scenario.Kind.allCases)

    @Option(help: "Which way connections go, seen from the pod: outbound,inbound.")
    var directions = ListArgument(Direction.allCases)

    @Option(help: "Over IPv4, IPv6 or both: 4,6.")
    var family = ListArgument([FamilyArgument.ipv4])

    @Option(help: "Where the peer is: at the other end of the pod's wire, or across two nodes.")
    var topology = ListArgument([Topology.same])

    @Option(help: "Bytes of a request and of its answer, with commas.")
    var sizes = ListArgument([1, 1024, 65536])

    @Option(help: "How many connections requests go over at once, with commas.")
    var connections = ListArgument([1, 16])

    @Option(help: "How many rounds go through all subjects.")
    var rounds = 9

    @Option(help: "How many seconds a measurement takes.")
    var duration = 0.5

    @Option(help: "How many seconds one of churn takes (default: five times as long).")
    var churnDuration: Double?

    @Option(help: "How many rounds of churn (default: as of the rest).")
    var churnRounds: Int?

    @Option(help: "The seed of the order within rounds, and of the intervals.")
    var seed: UInt64 = 1

    @Option(
        help: """
            The processors for client, sidecar and server, with commas (default: the first ones; \
            with two, sidecar and server share the second).
            """)
    var cpus = ListArgument<UInt32>([])

    @Option(help: "How many seconds without an answer make a connection one that failed.")
    var patience = 5

    @OptionGroup var files: ReportFiles

    func validate() throws {
        try checkCount("--rounds", rounds, 1...1000)
        try checkDuration(duration)
        try checkCount("--patience", patience, 1...600)
        if let churnDuration { try checkDuration(churnDuration, of: "--churn-duration") }
        if let churnRounds { try checkCount("--churn-rounds", churnRounds, 1...1000) }
        for size in sizes.values { try checkCount("--sizes", size, 1...1 << 20) }
        for count in connections.values { try checkCount("--connections", count, 1...256) }
    }

    func run() throws {
        try files.check()
        let bench = Bench(
            subjects: subjects.values,
            scenarios: Scenario.all(
                scenarios.values, directions.values, families: family.values.map(\.family),
                topologies: topology.values, sizes: sizes.values,
                connections: connections.values),
            rounds: rounds, duration: .seconds(duration), seed: seed,
            churnDuration: churnDuration.map { .seconds($0) }, churnRounds: churnRounds,
            cpus: cpus.values, patience: UInt32(patience))
        try runInterruptibly { [files] in
            let machine = try MachineDescription.current()
            let results = try await bench.run(progress: ProgressLine.show)
            let report = BenchReport(
                bench, results, on: machine, version: Version.text,
                command: CommandLine.arguments)
            try files.write(report)
        }
    }
}

/// Shows where a run has got to on standard error: a line that changes on a terminal, else one for
/// each step.
enum ProgressLine {
    private static let isTerminal = isatty(2) == 1
    private static let step = Mutex("")

    static func show(_ progress: BenchProgress) {
        if isTerminal {
            return Console.show(passing: "\(progress.step): \(progress.detail)")
        }
        let isNew = step.withLock { step in
            defer { step = progress.step }
            return step != progress.step
        }
        if isNew { Console.complain("bench: \(progress.step)") }
    }

    static func end() {
        if isTerminal { Console.show(passing: "") }
    }
}

/// Values with commas between them, none of them twice.
struct ListArgument<Value: Sendable & Hashable>: Sendable {
    let values: [Value]

    init(_ values: [Value]) { self.values = values }
}

extension ListArgument: ExpressibleByArgument where Value: ExpressibleByArgument {
    init?(argument: String) {
        let parts = argument.split(separator: ",", omittingEmptySubsequences: false)
        let values = parts.compactMap { Value(argument: String($0)) }
        guard values.count == parts.count, Set(values).count == values.count else { return nil }
        self.values = values
    }

    var defaultValueDescription: String {
        values.map(\.defaultValueDescription).joined(separator: ",")
    }
}

extension Subject: ExpressibleByArgument {
    package init?(argument: String) {
        guard let subject = Subject.named(argument) else { return nil }
        self = subject
    }

    package var defaultValueDescription: String { name }
}
