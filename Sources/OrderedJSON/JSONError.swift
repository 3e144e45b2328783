// SPDX-License-Identifier: Apache-2.0

/// A text that is not JSON: where, and why.
package struct JSONError: Error, Hashable, CustomStringConvertible {
    /// Both count from 1; columns are bytes.
    package let line: Int
    package let column: Int
    package let problem: String

    init(_ problem: String, at index: Int, in bytes: [UInt8]) {
        let before = bytes.prefix(index)
        line = before.reduce(1) { $1 == UInt8(ascii: "\n") ? $0 + 1 : $0 }
        column = index - (before.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0) + 1
        self.problem = problem
    }

    package var description: String { "line \(line), column \(column): \(problem)" }
}
