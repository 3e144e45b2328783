// SPDX-License-Identifier: Apache-2.0

/// Something an operator wrote that cannot be meant: where, what, and what is allowed there.
package struct PolicyError: Error, Hashable {
    /// The file's name, or whose annotations they are.
    package let source: String
    /// Counted from 1; 0 where there are no lines, as in an annotation.
    package let line: Int
    package let column: Int
    /// `outbound.exclude.ports[2]`, or an annotation's key.
    package let field: String
    package let value: String?
    package let problem: String
    package let allowed: String?
}

extension PolicyError: CustomStringConvertible {
    /// `policy.yaml:7:12: outbound.exclude.ports[0]: "80a" is not a port; allowed: 1 to 65535`.
    package var description: String {
        let place = line > 0 ? "\(source):\(line):\(column)" : source
        let subject = [
            field.isEmpty ? nil : "\(Self.shown(field, upTo: 200)):",
            value.map { "\"\(Self.shown($0, upTo: 80))\"" }, Self.shown(problem, upTo: 400),
        ]
        let sentence = subject.compactMap(\.self).joined(separator: " ")
        return "\(place): \(sentence)" + (allowed.map { "; allowed: \($0)" } ?? "")
    }

    /// The text as a person can read it on one line, whatever bytes it has.
    private static func shown(_ text: String, upTo limit: Int) -> String {
        let shown = text.unicodeScalars.prefix(limit).map { scalar in
            scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value)
                ? "\\u{\(String(scalar.value, radix: 16))}" : String(scalar)
        }
        return shown.joined() + (text.unicodeScalars.count > limit ? "..." : "")
    }
}

/// Everything wrong with a file or with an object's annotations, in reading order.
package struct PolicyErrors: Error, Hashable, CustomStringConvertible {
    /// More than this help nobody.
    static let limit = 100

    package let errors: [PolicyError]
    /// How many more there are.
    package let omitted: Int

    init(_ errors: [PolicyError], omitted: Int = 0) {
        self.errors = Array(errors.prefix(Self.limit))
        self.omitted = omitted + max(0, errors.count - Self.limit)
    }

    package var description: String {
        let more = omitted > 0 ? ["and \(omitted) more"] : []
        return (errors.map { "\($0)" } + more).joined(separator: "\n")
    }
}
