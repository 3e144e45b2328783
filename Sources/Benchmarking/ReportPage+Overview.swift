// SPDX-License-Identifier: Apache-2.0

/// The first table of the page: everything at a glance, and the way to each part.
extension ReportPage {
    var overview: String {
        let subjects = report.rows.map(\.subject).reduce(into: [String]()) { names, name in
            if !names.contains(name), name != "manual" { names.append(name) }
        }
        let head = subjects.map { "<th>\($0.escaped)</th>" }.joined()
        let rows = report.scenarios.map { name in
            let rows = report.rows.filter { $0.name == name }
            let cells = subjects.map { subject in
                "<td>\(Self.glance(rows.first { $0.subject == subject }).escaped)</td>"
            }
            let metric = rows.first?.scenario.hasLatency ?? true ? "p50" : "rate"
            return "<tr><td>\(Self.link(name))</td><td class=\"word\">\(metric)</td>"
                + cells.joined() + "</tr>"
        }
        let others = report.tables.map { "<li>\(Self.link($0.title))</li>" }
        return """
            <section>
            <h2>At a glance</h2>
            <p>What each costs as a ratio to <i>manual</i>, and where the ratio would lie 19 times of 20. Of a
            median latency (p50) less is better, and 1.05 is five hundredths slower than dialing the sidecar;
            of a rate more is better.</p>
            <table>
            <tr><th>scenario</th><th>of</th>\(head)</tr>
            \(rows.joined(separator: "\n"))
            </table>
            \(others.isEmpty ? "" : "<p>And besides:</p><ul>\(others.joined())</ul>")
            </section>
            """
    }

    private static func glance(_ row: BenchReport.Row?) -> String {
        let ratio = row?.scenario.hasLatency ?? true ? row?.toManual?.latency : row?.toManual?.rate
        return ratio?.text ?? ""
    }

    private static func link(_ title: String) -> String {
        "<a href=\"#\(anchor(title))\">\(title.escaped)</a>"
    }

    /// What a heading is called in an address.
    static func anchor(_ title: String) -> String {
        String(title.lowercased().map { $0.isLetter || $0.isNumber ? $0 : "-" })
    }
}
