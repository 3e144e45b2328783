// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

/// A report as tables in Markdown, which read well on a terminal, too.
package struct ReportText {
    private let report: BenchReport

    package init(_ report: BenchReport) { self.report = report }

    package var text: String {
        let sections = report.scenarios.map { name in
            let rows = report.rows.filter { $0.name == name }
            return "\(name)\n\n" + table(rows)
        }
        let tables = report.tables.map {
            [$0.title, $0.explanation, Self.table($0)].joined(separator: "\n\n")
        }
        return ([machine] + skipped + sections + programs + tables).joined(separator: "\n\n")
            + "\n"
    }

    private var skipped: [String] {
        report.skipped.isEmpty
            ? [] : [report.skipped.map(\.description).joined(separator: "\n")]
    }

    private var programs: [String] {
        guard !report.programs.isEmpty else { return [] }
        let heading = [
            "subject", "direction", "program", "runs a connection", "ns a run", "ns a connection",
        ]
        let rows = report.programs.map { time in
            [
                time.subject, time.direction.rawValue, time.program,
                time.runsPerConnection.hundredths, time.nanosecondsPerRun.short,
                time.nanosecondsPerConnection.short,
            ]
        }
        return ["eBPF programs\n\n" + Self.table([heading] + rows, numbersFrom: 3)]
    }

    private var machine: String {
        let machine = report.machine
        return
            "\(report.version) (\(machine.build) build), Linux \(machine.kernel), \(machine.processor), "
            + "\(machine.processors) processors, load \(machine.load.short) at the start; "
            + "\(report.rounds) rounds of \(report.seconds.short) s; \(report.placement)"
    }

    private func table(_ rows: [BenchReport.Row]) -> String {
        let columns = Self.columns(for: rows)
        return Self.table(
            [columns.map(\.title)] + rows.map { row in columns.map { $0.cell(row) } },
            numbersFrom: 1)
    }

    package static func table(_ table: ReportTable) -> String {
        Self.table([table.columns] + table.rows, numbersFrom: table.wordColumns)
    }

    private static func table(_ cells: [[String]], numbersFrom first: Int) -> String {
        let columns = cells.first?.indices ?? 0..<0
        let widths = columns.map { index in cells.map { $0[index].count }.max() ?? 0 }
        var lines = cells.map { line(zip($0, widths).map { $0.padded(to: $1) }) }
        let rule = widths.enumerated().map { index, width in
            String(repeating: "-", count: width - 1) + (index < first ? "-" : ":")
        }
        lines.insert(line(rule), at: 1)
        return lines.joined(separator: "\n")
    }

    private static func line(_ cells: [String]) -> String {
        "| " + cells.joined(separator: " | ") + " |"
    }
}

/// A column of a report's table.
struct ReportColumn: Sendable {
    let title: String
    let cell: @Sendable (BenchReport.Row) -> String
}

extension ReportText {
    /// What a scenario's rows have: bulk has no latencies, churn has a course.
    static func columns(for rows: [BenchReport.Row]) -> [ReportColumn] {
        guard let first = rows.first else { return [] }
        var columns = [ReportColumn(title: "subject") { $0.subject }]
        if first.scenario.hasLatency { columns += latencies }
        columns += [
            ReportColumn(title: first.rateUnit) { $0.rate.short },
            ReportColumn(title: "rate to manual") { $0.toManual?.rate?.text ?? "-" },
            ReportColumn(title: first.scenario.kind == .bulk ? "CPU, µs/MB" : "CPU, µs") {
                "\($0.cpu.user.short) + \($0.cpu.system.short)"
            },
            ReportColumn(title: "softirq") { $0.cpu.softirq.short },
            ReportColumn(title: "CPU to manual") { $0.toManual?.cpu?.text ?? "-" },
        ]
        if first.scenario.kind == .churn {
            columns += [
                ReportColumn(title: "last tenth to first") { $0.course.last?.hundredths ?? "-" },
                ReportColumn(title: "failed") { "\($0.counts.failed)" },
                ReportColumn(title: "escaped") { "\($0.counts.escaped + $0.counts.strayed)" },
            ]
        }
        return columns
    }

    private static let latencies = [
        ReportColumn(title: "p50, µs") { $0.latency?.short ?? "-" },
        ReportColumn(title: "p90") { $0.percentiles?.p90.short ?? "-" },
        ReportColumn(title: "p99") { $0.percentiles?.p99.short ?? "-" },
        ReportColumn(title: "p99.9") { $0.percentiles?.p999.short ?? "-" },
        ReportColumn(title: "p50 to manual") { $0.toManual?.latency?.text ?? "-" },
        ReportColumn(title: "to direct") { $0.toDirect?.latency?.text ?? "-" },
    ]
}

extension BenchReport {
    /// The scenarios' names, in their order.
    var scenarios: [String] {
        rows.map(\.name).reduce(into: []) { names, name in
            if names.last != name { names.append(name) }
        }
    }
}

extension String {
    func padded(to width: Int) -> String {
        self + String(repeating: " ", count: max(0, width - count))
    }
}
