// SPDX-License-Identifier: Apache-2.0

/// A table of a report, beside its scenarios: what it says, and the ratios in it.
package struct ReportTable: Codable, Sendable {
    package let title: String
    /// What it is, to somebody who sees it for the first time.
    package let explanation: String
    package let columns: [String]
    package private(set) var rows: [[String]] = []
    /// By what they are ratios of, for a comparison of runs.
    package private(set) var ratios: [String: Ratio] = [:]
    /// How many columns at the left are words.
    package let wordColumns: Int

    init(_ title: String, _ explanation: String, columns: [String], words: Int = 1) {
        self.title = title
        self.explanation = explanation
        self.columns = columns
        wordColumns = words
    }

    mutating func add(_ row: [String]) { rows.append(row) }

    /// Keeps a ratio by the row's words and its own, and returns it as text.
    mutating func keep(_ ratio: Ratio?, _ words: String...) -> String {
        guard let ratio else { return "-" }
        ratios[([title] + words).joined(separator: ", ")] = ratio
        return ratio.text
    }
}
