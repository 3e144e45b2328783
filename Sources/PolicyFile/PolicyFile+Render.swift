// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

extension PolicyFile {
    /// The policy as a file: what `parse` reads back as the same policy, in the one order there is.
    package static func render(_ policy: Policy) -> String {
        var lines = ["apiVersion: \(apiVersion)", "kind: \(kind)"]
        var open: [Substring] = []
        for field in PolicyField.all {
            guard let text = field.write(policy) else { continue }
            let names = field.path.split(separator: ".")
            let shared = zip(open, names.dropLast()).prefix { $0 == $1 }.count
            for depth in shared..<(names.count - 1) {
                lines.append(indentation(depth) + "\(names[depth]):")
            }
            open = names.dropLast()
            lines += render(text, of: field, name: names[names.count - 1], depth: names.count - 1)
        }
        return lines.map { $0 + "\n" }.joined()
    }

    private static func indentation(_ depth: Int) -> String {
        String(repeating: "  ", count: depth)
    }

    private static func render(
        _ text: FieldText, of field: PolicyField, name: Substring, depth: Int
    ) -> [String] {
        let start = indentation(depth) + "\(name):"
        if let keys = RecordKeys.byPath[field.path], !text.items.isEmpty {
            return [start] + text.items.flatMap { record($0, keys, depth + 1) }
        }
        switch text {
        case .value(let value): return ["\(start) \(scalar(value))"]
        case .list(let items):
            return ["\(start) [\(items.map(scalar).joined(separator: ", "))]"]
        }
    }

    /// A record's text as the mapping it stands for.
    private static func record(_ text: String, _ keys: RecordKeys, _ depth: Int) -> [String] {
        let parts = text.split(
            separator: ":", maxSplits: keys.keys.count - 1, omittingEmptySubsequences: false)
        return zip(keys.keys, parts).enumerated().map { index, pair in
            let (key, part) = pair
            let items = part.split(separator: ",").map { scalar(String($0)) }
            let value = key.isList ? "[\(items.joined(separator: ", "))]" : scalar(String(part))
            return indentation(depth) + (index == 0 ? "- " : "  ") + "\(key.name): \(value)"
        }
    }

    /// A single value, in quotes unless it can be nothing but itself.
    private static func scalar(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { byte in
            (48...57).contains(byte) || (97...122).contains(byte) || (65...90).contains(byte)
        }
        let isNumberOrWord =
            text.first.map { $0.isLetter } ?? false || ValueText.decimal(text) != nil
        if isPlain, isNumberOrWord,
            !["null", "yes", "no", "on", "y", "n"].contains(text.lowercased())
        {
            return text
        }
        let escaped = text.unicodeScalars.map { scalar in
            switch scalar {
            case "\"", "\\": "\\\(scalar)"
            default: String(scalar)
            }
        }
        return "\"\(escaped.joined())\""
    }
}
