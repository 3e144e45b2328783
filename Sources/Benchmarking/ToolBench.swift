// SPDX-License-Identifier: Apache-2.0

internal import CTrafficLoad
internal import FoundationEssentials
internal import LinuxKernel
internal import RedirectionModel

/// Loads that others have written, over the same pods as ours: whether the ratios are our load's own.
package struct ToolBench: Sendable {
    private let bench: Bench

    package init(
        _ subjects: [Subject], rounds: Int, duration: Duration, seed: UInt64,
        cpus: [UInt32] = []
    ) {
        let distinct = subjects.filter { $0.isDistinct(.outbound, among: subjects) }
        bench = Bench(
            subjects: distinct, scenarios: Pairing.allCases.map(\.scenario), rounds: rounds,
            duration: duration, seed: seed, cpus: cpus)
    }

    /// A load of others', and what of ours comes nearest.
    private enum Pairing: CaseIterable {
        case wrkConnections, wrkRequests, iperf

        var scenario: Scenario {
            switch self {
            case .wrkConnections: Scenario(.connect, .outbound)
            case .wrkRequests: Scenario(.request, .outbound, size: 64)
            case .iperf: Scenario(.bulk, .outbound)
            }
        }

        var name: String {
            switch self {
            case .wrkConnections: "wrk, connections that the server closes"
            case .wrkRequests: "wrk, requests over one connection"
            case .iperf: "iperf3, one stream"
            }
        }

        var program: String { self == .iperf ? "iperf3" : "wrk" }

        var service: tload_service { self == .iperf ? TLOAD_OTHERS : TLOAD_HTTP }

        func arguments(_ address: String, _ port: UInt16, _ duration: Duration) -> [String] {
            let seconds = "\(max(1, Int((duration / .seconds(1)).rounded())))"
            let url = "http://\(address):\(port)/"
            return switch self {
            case .wrkConnections:
                ["wrk", "-t1", "-c1", "-d\(seconds)s", "-H", "Connection: close", url]
            case .wrkRequests: ["wrk", "-t1", "-c1", "-d\(seconds)s", url]
            case .iperf: ["iperf3", "-c", address, "-p", "\(port)", "-t", seconds, "-J"]
            }
        }

        /// Operations a second, or 10^9 bits.
        func rate(_ output: String) throws -> Double {
            let value: Double?
            if self == .iperf {
                let report = try JSONDecoder().decode(IperfReport.self, from: Data(output.utf8))
                value = report.end.sum_received.bits_per_second / 1e9
            } else {
                value = ToolBench.wrkRate(output)
            }
            guard let value, value > 0 else { throw BenchError.processFailed(program, nil) }
            return value
        }
    }

    /// What iperf3 -J says, in its own words.
    private struct IperfReport: Decodable {
        struct End: Decodable { let sum_received: Sum }
        struct Sum: Decodable { let bits_per_second: Double }
        let end: End
    }

    /// From the line `Requests/sec:`; `nil` where requests failed.
    static func wrkRate(_ output: String) -> Double? {
        let lines = output.split(separator: "\n")
        guard !output.contains("Non-2xx"), !output.contains("Socket errors") else { return nil }
        let line = lines.first { $0.hasPrefix("Requests/sec:") }
        return line?.split(separator: " ").last.flatMap { Double($0) }
    }

    /// What is not installed; nothing is measured then.
    package static var missing: [String] {
        ["wrk", "iperf3", "taskset"].filter { !OtherProgram.isInstalled($0) }
    }

    /// Runs it; what it makes is gone when it returns, throws or is canceled.
    package func run(
        progress: @escaping @Sendable (BenchProgress) -> Void
    ) async throws -> ReportTable {
        try await bench.onStage(progress: progress) { setting in
            let (cpus, stages) = (setting.site.cpus, setting.stages)
            for stage in stages {
                try Self.pinned(cpus[.server], ["iperf3", "-s", "-p", "\(TLOAD_OTHERS.rawValue)"])
                    .start(in: stage.pod.place(.server, .outbound))
            }
            var (table, random) = (Self.emptyTable, bench.order)
            for pairing in Pairing.allCases {
                let ours = try bench.measure(
                    pairing.scenario, on: stages, &random, progress)
                let theirs = try measure(pairing, stages, cpus, progress)
                add(pairing, ours, theirs, to: &table)
            }
            return table
        }
    }

    private static var emptyTable: ReportTable {
        ReportTable(
            "Ours and theirs side by side",
            """
            The same pods under loads that others have written, and under the load of ours that comes \
            nearest: outbound, as ratios of rates to manual. Absolute rates are not alike, for no two \
            programs do the same; the ratios should be.
            """,
            columns: ["load", "subject", "theirs", "theirs to manual", "ours", "ours to manual"],
            words: 2)
    }

    private static func pinned(_ cpu: UInt32, _ arguments: [String]) -> OtherProgram {
        OtherProgram(["taskset", "-c", "\(cpu)"] + arguments)
    }

    /// The rates of each stage, round by round.
    private func measure(
        _ pairing: Pairing, _ stages: [Stage], _ cpus: Stage.CPUChoice,
        _ progress: @Sendable (BenchProgress) -> Void
    ) throws -> [[Double]] {
        var random = bench.order
        var found = stages.map { _ in [Double]() }
        for round in 1...bench.rounds {
            for index in stages.indices.shuffled(using: &random) {
                let stage = stages[index]
                let turn = "round \(round) of \(bench.rounds), \(stage.subject.name)"
                progress(BenchProgress(pairing.name, turn))
                let (address, port) = stage.destination(
                    of: UInt16(pairing.service.rawValue), .outbound, .ipv4)
                let arguments = pairing.arguments("\(address)", port, bench.duration)
                let output = try Self.pinned(cpus[.client], arguments).run(
                    in: stage.pod.place(.client, .outbound),
                    within: bench.duration + .seconds(60))
                found[index].append(try pairing.rate(output))
            }
        }
        return found
    }

    private func add(
        _ pairing: Pairing, _ ours: [Measurement], _ theirs: [[Double]], to table: inout ReportTable
    ) {
        let manual = ours.firstIndex { $0.subject.name == "manual" }
        for index in ours.indices {
            let name = ours[index].subject.name
            var (ownRatio, otherRatio): (Ratio?, Ratio?)
            if let manual, manual != index {
                let rates = ours.map { $0.rounds.map(\.rate) }
                ownRatio = Ratio(rates[index], to: rates[manual], seed: bench.seed)
                otherRatio = Ratio(theirs[index], to: theirs[manual], seed: bench.seed)
            }
            let unit = pairing.scenario.rateUnit
            table.add([
                pairing.name, name, "\(Sample(theirs[index]).median.short) \(unit)",
                table.keep(otherRatio, pairing.name, name, "theirs"),
                "\(ours[index].medianRate.short) \(unit)",
                table.keep(ownRatio, pairing.name, name, "ours"),
            ])
        }
    }
}
