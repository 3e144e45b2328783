// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import CommandOptions
internal import EBPFBackend
internal import Lab
internal import RedirectionEngine
internal import RedirectionModel
internal import SidecarProxy

struct DemoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Show every mechanism at work, each in a lab of its own, and what is without.",
        discussion: """
            Every address below is what a process on the path saw, none is assumed. Fails (1) \
            when a mechanism does not do what the others do, after showing the rest.
            """)

    @Option(help: "Show only this mechanism; may be repeated.")
    var mechanism: [PolicyMode] = [.ebpf, .nft, .legacy, .none]

    @Option(help: "How ebpf takes inbound connections: lookup (Linux 5.9), or tc (any kernel).")
    var inbound: InboundMethod?

    @OptionGroup var features: FeatureOptions

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let ceiling = features.ceiling
        let demo = Demo(
            json: json, inbound: inbound ?? .preferred(below: ceiling), ceiling: ceiling)
        let mechanisms = mechanism
        try runInterruptibly {
            try LabRemains.sweep()
            var runs: [DemoRun] = []
            for mechanism in mechanisms { runs.append(try await demo.run(mechanism)) }
            try demo.conclude(runs)
        }
    }
}

/// One mechanism's turn.
struct DemoRun: Encodable {
    var mechanism: String
    var exchanges: [Exchange] = []
    /// Connections the sidecars recorded.
    var sidecarConnections = 0
    var seconds = 0.0
    /// Why the whole turn failed, beyond the problems of single exchanges.
    var failure: String?

    var isGood: Bool {
        failure == nil && !exchanges.isEmpty && exchanges.allSatisfy(\.problems.isEmpty)
    }
}

private struct Demo: Sendable {
    let json: Bool
    let inbound: InboundMethod
    let ceiling: FeatureCeiling

    func run(_ mechanism: PolicyMode) async throws -> DemoRun {
        announce(mechanism)
        var run = DemoRun(mechanism: mechanism.rawValue)
        let start = ContinuousClock.now
        do {
            try await play(mechanism, &run)
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            run.failure = "\(error)"
        }
        run.seconds = (ContinuousClock.now - start) / .seconds(1)
        if let failure = run.failure, !json { Console.say("\n  FAILED: \(failure)") }
        return run
    }

    private func play(_ mechanism: PolicyMode, _ run: inout DemoRun) async throws {
        var configuration = LabConfiguration(mechanism.wish)
        configuration.inbound = inbound
        configuration.ceiling = ceiling
        let (exchanges, sidecars) = try await Lab.with(
            configuration, progress: Progress.show
        ) { lab in
            let scene = try Scene(in: lab.state)
            let exchanges = try scene.play { exchange in
                if !json { ExchangeView(exchange: exchange, hasForeignSidecar: false).show() }
            }
            return (exchanges, try scene.sidecarRecords().count)
        }
        run.exchanges = exchanges
        run.sidecarConnections = sidecars
        let expected = mechanism == .none ? 0 : 2 * exchanges.count
        guard sidecars == expected else {
            run.failure =
                "the sidecars recorded \(sidecars) connections instead of \(expected)"
            return
        }
        if mechanism == .none, !json {
            Console.say("\n  no sidecar was touched: their records are empty")
        }
    }

    private func announce(_ mechanism: PolicyMode) {
        guard !json else { return }
        let title = mechanism == .none ? "control run, redirection off" : mechanism.rawValue
        Console.say("\n== \(title) " + String(repeating: "=", count: max(0, 72 - title.count)))
    }

    /// Shows the sum of it, and fails unless all of it is good.
    func conclude(_ runs: [DemoRun]) throws {
        let leftovers = try Leftovers.find()
        if json {
            try Console.say(json: Conclusion(runs: runs, leftovers: leftovers))
        } else {
            Console.say("\n" + summary(runs).text + "\n")
            Console.say(
                leftovers.isEmpty
                    ? "nothing is left behind: no cgroup, no directory, no process"
                    : "LEFT BEHIND: " + leftovers.joined(separator: ", "))
        }
        guard leftovers.isEmpty, runs.allSatisfy(\.isGood) else { throw ExitCode.failure }
    }

    private struct Conclusion: Encodable {
        let runs: [DemoRun]
        let leftovers: [String]
    }

    private func summary(_ runs: [DemoRun]) -> Table {
        var table = Table(["mechanism", "answers", "sidecars crossed", "v4", "v6", "seconds", ""])
        for run in runs {
            let good = run.exchanges.filter(\.problems.isEmpty).count
            let crossed = run.exchanges.map { $0.path.hops.filter { $0.role != .app }.count }
            table.add([
                run.mechanism, "\(good)/\(run.exchanges.count)",
                Set(crossed).sorted().map(String.init).joined(separator: ","),
                mark(run, .ipv4), mark(run, .ipv6), rounded(run.seconds),
                run.isGood ? "ok" : "FAILED",
            ])
        }
        return table
    }

    private func mark(_ run: DemoRun, _ family: AddressFamily) -> String {
        let exchanges = run.exchanges.filter { $0.family == family }
        guard !exchanges.isEmpty else { return "-" }
        return exchanges.allSatisfy(\.problems.isEmpty) ? "yes" : "no"
    }

    private func rounded(_ seconds: Double) -> String {
        let tenths = Int((seconds * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }
}
