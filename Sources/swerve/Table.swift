// SPDX-License-Identifier: Apache-2.0

/// Rows in aligned columns.
struct Table {
    private var rows: [[String]]
    private let indentation: String

    init(_ heading: [String], indentedBy indentation: Int = 0) {
        rows = [heading.map { $0.uppercased() }]
        self.indentation = String(repeating: " ", count: indentation)
    }

    mutating func add(_ row: [String]) { rows.append(row) }

    /// The table as text, two spaces between columns, no spaces at the end of a line.
    var text: String {
        let columns = rows.map(\.count).max() ?? 0
        let widths = (0..<columns).map { column in
            rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
        }
        return rows.map { row in
            let cells = zip(row, widths).map { $0.padded(to: $1) }
            let line = indentation + cells.joined(separator: "  ")
            return String(line.reversed().drop { $0 == " " }.reversed())
        }.joined(separator: "\n")
    }
}

extension String {
    func padded(to width: Int) -> String {
        self + String(repeating: " ", count: max(0, width - count))
    }
}
