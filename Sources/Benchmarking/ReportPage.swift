// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

/// A report as one page that needs nothing else: no script, no style sheet, no picture from anywhere.
package struct ReportPage {
    let report: BenchReport

    package init(_ report: BenchReport) { self.report = report }

    package var html: String {
        """
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width">
        <title>What redirection costs</title>
        <style>
        \(Self.style)
        </style>
        </head>
        <body>
        <h1>What redirection costs</h1>
        \(introduction)
        \(machine)
        \(overview)
        \(report.scenarios.map(section).joined(separator: "\n"))
        \(programs)
        \(report.tables.map(section).joined(separator: "\n"))
        </body>
        </html>

        """
    }

    private var introduction: String {
        let subjects = Set(report.rows.map(\.subject))
        let legend = Self.legend.filter { subjects.contains($0.name) }.map {
            "<dt><span style=\"background:\(PlotColor.of($0.name))\"></span>\($0.name)</dt>"
                + "<dd>\($0.meaning)</dd>"
        }
        return """
            <p>A sidecar proxy sees a pod's connections because something in the kernel moves them there.
            Here is what each way of doing so costs, on one machine, in one run: every scenario in
            \(report.rounds) rounds of \(report.seconds.short) s, every round through all of them in an order
            drawn by lot, so that what disturbs the machine disturbs all alike. A time is this machine's;
            <b>the ratios are what to look at</b>. Their intervals (95 %, bootstrap over rounds) say how sure
            they are: two whose intervals overlap may well be equal.</p>
            <dl class="legend">
            \(legend.joined(separator: "\n"))
            </dl>
            """
    }

    private var machine: String {
        let machine = report.machine
        let mitigations = machine.mitigations.sorted { $0.key < $1.key }
            .map { "\($0.key): \($0.value)" }
        let rows: [(String, String)] = [
            ("version", "\(report.version), \(machine.build) build"), ("kernel", machine.kernel),
            (
                "processor",
                "\(machine.processor), \(machine.processors) of them"
                    + (machine.isVirtual ? ", virtual" : "")
            ),
            ("placement", report.placement),
            (
                "not measured",
                report.skipped.isEmpty
                    ? "nothing" : report.skipped.map(\.description).joined(separator: "; ")
            ),
            ("governor", machine.governor ?? "unknown"),
            ("preemption", machine.preemption ?? "unknown"),
            ("mitigations", mitigations.isEmpty ? "none" : mitigations.joined(separator: "; ")),
            ("load at the start", machine.load.short), ("seed", "\(report.seed)"),
            ("command", report.command.joined(separator: " ")),
        ]
        let cells = rows.map { "<tr><th>\($0.0)</th><td>\($0.1.escaped)</td></tr>" }
        return "<table class=\"facts\">\n\(cells.joined(separator: "\n"))\n</table>"
    }

    private func section(_ name: String) -> String {
        let rows = report.rows.filter { $0.name == name }
        guard let first = rows.first else { return "" }
        var plots: [String] = []
        if first.scenario.hasLatency {
            plots.append(
                figure(
                    RatioPlot(
                        rows.compactMap { row in
                            row.toManual?.latency.map { ($0, row.subject) }
                        }
                    ).svg, "median latency to <i>manual</i>: less is better"))
        }
        plots.append(
            figure(
                RatioPlot(
                    rows.compactMap { row in
                        row.toManual?.rate.map { ($0, row.subject) }
                    }
                ).svg, "\(first.rateUnit) to <i>manual</i>: more is better"))
        plots.append(
            figure(
                RatioPlot(
                    rows.compactMap { row in
                        row.toManual?.cpu.map { ($0, row.subject) }
                    }
                ).svg, "processor time of all who take part, to <i>manual</i>: less is better"))
        if first.scenario.kind == .churn {
            plots.append(
                figure(CoursePlot(rows).svg, "rate over time, to its first tenth: flat is better"))
        } else if first.scenario.hasLatency {
            plots.append(
                figure(
                    LatencyPlot(rows).svg,
                    "latency by percentile, µs, in powers of ten: lower is better"))
        }
        return """
            <section>
            <h2 id="\(Self.anchor(name))">\(name.escaped)</h2>
            <p>\(first.scenario.explanation)</p>
            <div class="plots">
            \(plots.joined(separator: "\n"))
            </div>
            \(table(rows))
            </section>
            """
    }

    private func section(_ table: ReportTable) -> String {
        let rows = table.rows.map { row in
            let cells = row.enumerated().map { index, cell in
                "<td\(index < table.wordColumns ? " class=\"word\"" : "")>\(cell.escaped)</td>"
            }
            return "<tr>\(cells.joined())</tr>"
        }
        return """
            <section>
            <h2 id="\(Self.anchor(table.title))">\(table.title.escaped)</h2>
            <p>\(table.explanation.escaped)</p>
            <table>
            <tr>\(table.columns.map { "<th>\($0.escaped)</th>" }.joined())</tr>
            \(rows.joined(separator: "\n"))
            </table>
            </section>
            """
    }

    private func figure(_ svg: String, _ caption: String) -> String {
        svg.isEmpty ? "" : "<figure>\(svg)<figcaption>\(caption)</figcaption></figure>"
    }

    private func table(_ rows: [BenchReport.Row]) -> String {
        let columns = ReportText.columns(for: rows)
        let head = columns.map { "<th>\($0.title.escaped)</th>" }.joined()
        let body = rows.map { row in
            "<tr>" + columns.map { "<td>\($0.cell(row).escaped)</td>" }.joined() + "</tr>"
        }
        return "<table>\n<tr>\(head)</tr>\n\(body.joined(separator: "\n"))\n</table>"
    }

    private var programs: String {
        guard !report.programs.isEmpty else { return "" }
        let rows = report.programs.map { time in
            "<tr><td>\(time.subject.escaped)</td><td>\(time.direction.rawValue)</td>"
                + "<td>\(time.program.escaped)</td><td>\(time.runsPerConnection.hundredths)</td>"
                + "<td>\(time.nanosecondsPerRun.short)</td>"
                + "<td>\(time.nanosecondsPerConnection.short)</td></tr>"
        }
        return """
            <section>
            <h2>Where eBPF's time goes</h2>
            <p>From the kernel's own statistics of BPF programs, which cost some of what they count.</p>
            <table>
            <tr><th>subject</th><th>direction</th><th>program</th><th>runs a connection</th>\
            <th>ns a run</th><th>ns a connection</th></tr>
            \(rows.joined(separator: "\n"))
            </table>
            </section>
            """
    }
}

extension ReportPage {
    private static let legend: [(name: String, meaning: String)] = [
        ("direct", "no sidecar: what a connection costs by itself"),
        ("manual", "the client dials the sidecar: what any redirection costs at least"),
        ("legacy", "REDIRECT rules of ip_tables"),
        ("nft", "redirect rules of nf_tables"),
        ("tproxy", "nf_tables, inbound connections keep their destination"),
        ("ebpf", "eBPF at connect(2); inbound at the socket lookup"),
        ("ebpf-tc", "eBPF at connect(2); inbound by rewriting packets at tc"),
    ]

    private static let style = """
        body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem;
          color: #222; background: #fff; }
        a { color: inherit; }
        h1, h2 { line-height: 1.2; } h2 { margin-top: 3rem; border-top: 1px solid #ddd; padding-top: 1rem; }
        table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
        th, td { padding: .2rem .7rem; border-bottom: 1px solid #e5e5e5; text-align: right; }
        th:first-child, td:first-child, td.word, .facts td { text-align: left; }
        .facts th { font-weight: normal; color: #666; text-align: left; white-space: nowrap; }
        .facts td { overflow-wrap: anywhere; }
        .plots { display: flex; flex-wrap: wrap; gap: 1.5rem; margin: 1rem 0; }
        figure { margin: 0; } figcaption { font-size: 14px; color: #555; text-align: center; }
        svg text { font: 12px system-ui, sans-serif; fill: #333; }
        .legend { display: grid; grid-template-columns: max-content auto; gap: .1rem 1rem; }
        .legend dd { margin: 0; }
        .legend span { display: inline-block; width: .8rem; height: .8rem; margin-right: .5rem;
          border-radius: 2px; }
        """
}

extension Scenario {
    /// What it is, to somebody who sees it for the first time.
    var explanation: String {
        let way =
            direction == .outbound
            ? "The pod's application calls a server outside."
            : "A client outside calls the pod's application."
        let what =
            switch kind {
            case .connect:
                "Connections one after the other; the latency is that of connect(2) alone, the rate that of "
                    + "the whole: connect, be greeted by the sidecar, be closed by it."
            case .request:
                "\(connections) connection\(connections == 1 ? "" : "s"), each sending \(size) bytes and "
                    + "waiting for as many back, through the sidecar and on to the server."
            case .bulk: "One connection that sends as much as it can, through the sidecar."
            case .churn:
                "As connect, but the client closes first, so that its ports have to wait, and come round "
                    + "again: what a busy client does to the kernel's tables."
            case .dns: "Name lookups over UDP, each from a new socket, answered by the sidecar."
            }
        return [way, place, what].compactMap(\.self).joined(separator: " ")
    }

    /// Where it is otherwise than in most.
    private var place: String? {
        let words = [
            family == .ipv6 ? "Over IPv6." : nil,
            topology == .across
                ? "The other end is in a pod of another node, two routers away." : nil,
        ]
        let said = words.compactMap(\.self)
        return said.isEmpty ? nil : said.joined(separator: " ")
    }
}

extension String {
    /// As text in HTML.
    var escaped: String {
        replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
            .replacing("\"", with: "&quot;")
    }
}
