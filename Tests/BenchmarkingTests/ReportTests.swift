// SPDX-License-Identifier: Apache-2.0

import RedirectionModel
import Testing

@testable import Benchmarking

/// Tables and the page, from results that were made up.
struct ReportTests {
    private static func result(
        _ microseconds: Double, operations: UInt64 = 1000, escaped: UInt64 = 0,
        failed: UInt64 = 0
    ) -> LoadResult {
        LoadResult(
            nanoseconds: 500_000_000, operations: operations, bytes: 125_000_000,
            escaped: escaped, strayed: 0, failed: failed, firstError: failed > 0 ? 113 : 0,
            latencies: [LatencyCount(value: UInt64(microseconds * 1000), count: operations)],
            tenths: (1...10).map { UInt64(110 - 10 * $0) },
            cpu: CPUTime(user: 1000, system: 9000, softirq: 0))
    }

    private static func measurement(
        _ subject: String, _ scenario: Scenario, _ results: [LoadResult]
    ) throws -> Measurement {
        let subject = try #require(Subject.all.first { $0.name == subject })
        var measurement = Measurement(subject, scenario)
        for result in results { measurement.add(result) }
        return measurement
    }

    private static func report() throws -> BenchReport {
        let connect = Scenario(.connect, .outbound)
        let bulk = Scenario(.bulk, .inbound)
        let churn = Scenario(.churn, .outbound)
        let measurements = [
            try measurement("direct", connect, [result(10), result(20)]),
            try measurement("manual", connect, [result(20), result(40)]),
            try measurement("nft", connect, [result(30), result(60)]),
            try measurement("manual", bulk, [result(1)]),
            try measurement("ebpf-tc", bulk, [result(1)]),
            try measurement("manual", churn, [result(1)]),
            try measurement("legacy", churn, [result(1, escaped: 3, failed: 7)]),
        ]
        let bench = Bench(
            subjects: Subject.all, scenarios: [connect, bulk, churn], rounds: 2,
            duration: .milliseconds(500), seed: 1)
        return BenchReport(
            bench,
            BenchResults(
                measurements: measurements, programs: programs,
                skipped: [SkippedSubject(subject: "legacy", reason: "none")],
                placement: Stage.CPUChoice(numbers: [0, 1]).description),
            on: machine, version: "swerve 0", command: ["swerve", "<bench>"])
    }

    private static let programs = [
        ProgramTime(
            subject: "ebpf-tc", direction: .inbound, program: "swerve_tc", runsPerConnection: 4,
            nanosecondsPerRun: 125)
    ]

    private static let machine = MachineDescription(
        build: "debug", kernel: "6.1", processor: "P", processors: 2, isVirtual: true,
        preemption: nil,
        governor: nil, mitigations: ["spectre": "on & <off>"], load: 0.5)

    @Test func `a table compares round by round`() throws {
        let text = ReportText(try Self.report()).text
        let golden = """
            swerve 0 (debug build), Linux 6.1, P, 2 processors, load 0.5 at the start; \
            2 rounds of 0.5 s; client on CPU 0, sidecar on CPU 1, server on CPU 1

            legacy is not measured: none

            connect outbound

            | subject | p50, µs | p90 | p99 | p99.9 | p50 to manual    | to direct        \
            | connections/s | rate to manual   | CPU, µs | softirq | CPU to manual    |
            | ------- | ------: | --: | --: | ----: | ---------------: | ---------------: \
            | ------------: | ---------------: | ------: | ------: | ---------------: |
            | direct  | 15      | 20  | 20  | 20    | 0.50 (0.50-0.50) | -                \
            | 2000          | 1.00 (1.00-1.00) | 1 + 9   | 0       | 1.00 (1.00-1.00) |
            | manual  | 30      | 40  | 40  | 40    | -                | 2.00 (2.00-2.00) \
            | 2000          | -                | 1 + 9   | 0       | -                |
            | nft     | 45      | 60  | 60  | 60    | 1.50 (1.50-1.50) | 3.00 (3.00-3.00) \
            | 2000          | 1.00 (1.00-1.00) | 1 + 9   | 0       | 1.00 (1.00-1.00) |

            """
        #expect(text.hasPrefix(golden), "\(text)")
    }

    @Test func `bulk is in bits a second, churn tells of failures and of its course`() throws {
        let report = try Self.report()
        let bulk = try #require(report.rows.first { $0.scenario.kind == .bulk })
        // 125 MB in half a second.
        #expect(bulk.rate == 2)
        #expect(bulk.latency == nil && bulk.percentiles == nil)
        let churn = try #require(report.rows.last)
        #expect(churn.counts.description == "1000 done, 3 escaped, 0 strayed, 7 failed (errno 113)")
        #expect(churn.course.last == 0.1)
        let lines = ReportText(report).text.split(separator: "\n")
        let line = lines.first { $0.hasPrefix("| legacy") }
        #expect(lines.last?.hasPrefix("| ebpf-tc | inbound   | swerve_tc | 4.00") == true)
        #expect(lines.last?.contains("| 125      | 500 ") == true)
        #expect(
            line?.contains("| 0.10                | 7      | 3       |") == true, "\(line ?? "")")
    }

    @Test func `connections that are not where they should be make a measurement worthless`() throws
    {
        let connect = Scenario(.connect, .outbound)
        let escaped = try Self.measurement("nft", connect, [Self.result(1, escaped: 1)])
        #expect(throws: BenchError.self) { try escaped.check() }
        let failed = try Self.measurement("nft", connect, [Self.result(1, failed: 1)])
        #expect(throws: BenchError.self) { try failed.check() }
        let nothing = try Self.measurement("nft", connect, [Self.result(1, operations: 0)])
        #expect(throws: BenchError.self) { try nothing.check() }
        try Self.measurement("nft", connect, [Self.result(1)]).check()
    }

    @Test func `the page needs nothing else and escapes what it is given`() throws {
        let page = ReportPage(try Self.report()).html
        #expect(page.contains("spectre: on &amp; &lt;off&gt;"))
        #expect(page.contains("swerve &lt;bench&gt;"))
        for outside in ["<script", "<link", "src=", "url(", "http"] {
            #expect(!page.contains(outside), "\(outside)")
        }
        // At a glance, three scenarios, the programs.
        #expect(page.components(of: "<section>") == 5)
        #expect(page.contains("<a href=\"#bulk-inbound\">"))
        #expect(page.contains("<h2 id=\"bulk-inbound\">"))
        #expect(page.contains("<td>1.50 (1.50-1.50)</td>"))
        // Connect: three ratios and a distribution; bulk: two ratios; churn: three and a course.
        #expect(page.components(of: "<svg") == 10)
        #expect(page.components(of: "<svg") == page.components(of: "</svg>"))
        #expect(!page.contains("nan") && !page.contains("inf\""))
    }

    @Test func `a table stands in text and page, and its ratios are kept by name`() throws {
        var report = try Self.report()
        var table = ReportTable("T", "What <it> is.", columns: ["a", "b"])
        let ratio = try #require(Ratio([2, 4], to: [1, 2], seed: 1))
        table.add(["x", table.keep(ratio, "x", "latency")])
        table.add(["y", table.keep(nil, "y", "latency")])
        report.tables = [table]
        #expect(
            ReportText(report).text.hasSuffix(
                """
                T

                What <it> is.

                | a | b                |
                | - | ---------------: |
                | x | 2.00 (2.00-2.00) |
                | y | -                |

                """))
        let page = ReportPage(report).html
        #expect(page.contains("<p>What &lt;it&gt; is.</p>"))
        #expect(page.contains("<td class=\"word\">x</td><td>2.00 (2.00-2.00)</td>"))
        #expect(report.ratios["T, x, latency"] == ratio)
        #expect(report.ratios["connect outbound, nft to manual, latency"]?.median == 1.5)
    }

    @Test func `runs agree where their intervals meet`() throws {
        func report(_ values: [Double]...) throws -> BenchReport {
            var table = ReportTable("T", "", columns: ["a"])
            for (index, values) in values.enumerated() {
                let baseline = values.map { _ in 1.0 }
                _ = table.keep(Ratio(values, to: baseline, seed: 1), "\(index)")
            }
            var report = try Self.report()
            report.tables = [table]
            return report
        }
        let first = try report([1.0, 1.1, 1.2], [2.0, 2.1, 2.2], [3], [4])
        let second = try report([1.15, 1.2, 1.3], [2.3, 2.4, 2.5], [5])
        let comparison = BenchComparison(first, second)
        #expect(comparison.disagreeing(within: 0).map(\.what) == ["T, 1"])
        #expect(comparison.disagreeing(within: 0.05).isEmpty)
        #expect(comparison.unpaired == ["T, 3"])
        // A single round has no interval, and another run may have another value.
        #expect(
            comparison.singles.contains("T, 2") && !comparison.pairs.map(\.what).contains("T, 2"))
        let text = comparison.text(within: 0)
        #expect(text.contains("| T, 1  | 2.10 (2.00-2.20) | 2.40 (2.30-2.50) |"), "\(text)")
        #expect(text.contains("ratios agree within their intervals; "), "\(text)")
        let same = BenchComparison(first, first)
        #expect(same.disagreeing(within: 0).isEmpty && same.unpaired.isEmpty)
    }

    @Test func `wrk's rate is read, unless requests failed`() {
        let output = "  Latency 1us\nRequests/sec:  15234.56\nTransfer/sec: 1MB\n"
        #expect(ToolBench.wrkRate(output) == 15234.56)
        #expect(ToolBench.wrkRate("  Non-2xx or 3xx responses: 3\n" + output) == nil)
        let errors = "  Socket errors: connect 0, read 2, write 0, timeout 0\n"
        #expect(ToolBench.wrkRate(errors + output) == nil)
        #expect(ToolBench.wrkRate("") == nil)
    }

    @Test func `a wire's addresses are its own, segment by segment`() {
        let addresses = (0..<300).flatMap { number in
            (0..<3).flatMap { segment in
                [UInt32(1), 2].flatMap { host in
                    AddressFamily.allCases.map {
                        BenchWire.address(number, segment: segment, host: host, $0)
                    }
                }
            }
        }
        #expect(Set(addresses).count == addresses.count)
        #expect("\(BenchWire.address(3, segment: 2, host: 1, .ipv4))" == "10.78.3.129")
        #expect("\(BenchWire.address(3, segment: 2, host: 1, .ipv6))" == "fd4e:3:0:2::1")
    }

    @Test func `an axis has round numbers within its range`() {
        let axis = PlotAxis(0.9...1.6, from: 0, to: 100)
        #expect(axis.place(0.9) == 0 && axis.place(1.6) == 100)
        let ticks = axis.ticks
        #expect((3...8).contains(ticks.count), "\(ticks)")
        #expect(ticks.allSatisfy { (0.9...1.6001).contains($0) }, "\(ticks)")
        #expect(LatencyPlot.ticks(15...300) == [20, 50, 100, 200])
        #expect(LatencyPlot.ticks(15...20_000) == [100, 1000, 10_000])
        // All the same: a place, and no division by nothing.
        #expect(PlotAxis(1...1, from: 0, to: 10).place(1) == 0)
    }

    @Test func `outbound, subjects that would be the same are measured once`() {
        let names = { (direction: Direction) in
            Subject.all.filter { $0.isDistinct(direction, among: Subject.all) }.map(\.name)
        }
        #expect(names(.outbound) == ["direct", "manual", "legacy", "nft", "ebpf"])
        #expect(names(.inbound).count == 7)
    }

    @Test func `what a kernel lacks is skipped, and what is left measured both ways`() {
        func skipped(_ reason: String?, hasSocketLookup: Bool) -> [String] {
            SkippedSubject.among(Subject.all, hasSocketLookup: hasSocketLookup) {
                "\($0)" == "ebpf" ? reason : nil
            }.map(\.description)
        }
        #expect(skipped(nil, hasSocketLookup: true).isEmpty)
        #expect(
            skipped(nil, hasSocketLookup: false)
                == ["ebpf is not measured: this kernel has no inbound by socket lookup"])
        #expect(
            skipped("no sockops", hasSocketLookup: true)
                == ["ebpf is not measured: no sockops", "ebpf-tc is not measured: no sockops"])
        let left = Subject.all.filter { $0.name != "ebpf" && $0.name != "nft" }
        #expect(left.allSatisfy { $0.isDistinct(.outbound, among: left) })
    }

    @Test func `a client is alone with two processors, and each part with three`() {
        let parts = { (numbers: [UInt32]) in
            BenchPod.Part.allCases.map { Stage.CPUChoice(numbers: numbers)[$0] }
        }
        #expect(parts([4]) == [4, 4, 4])
        #expect(parts([4, 7]) == [4, 7, 7])
        #expect(parts([4, 7, 1, 2]) == [4, 7, 1])
    }

    @Test func `scenarios are all that the options ask for`() {
        let scenarios = Scenario.all(
            [.request, .dns], [.inbound, .outbound], sizes: [1, 1024], connections: [1, 16])
        #expect(scenarios.count == 9)
        #expect(scenarios.first?.name == "request inbound, 1 B, 1 connection")
        #expect(scenarios.last?.name == "dns outbound")
        let elsewhere = Scenario.all(
            [.connect], [.inbound], families: [.ipv4, .ipv6], topologies: [.same, .across])
        #expect(
            elsewhere.map(\.name) == [
                "connect inbound", "connect inbound, IPv6", "connect inbound, across nodes",
                "connect inbound, IPv6, across nodes",
            ])
        // Two that are told by the same name would be taken for one.
        #expect(Set(FullBench.scenarios.map(\.name)).count == FullBench.scenarios.count)
    }
}

extension String {
    fileprivate func components(of part: String) -> Int { ranges(of: part).count }
}
