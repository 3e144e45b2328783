// SPDX-License-Identifier: Apache-2.0

package import OrderedJSON
internal import Yams

/// YAML, to and from values.
package enum YAMLText {
    /// A value as a block, without a line's end at its end.
    static func render(_ value: JSON) -> String { lines(value).joined(separator: "\n") }

    private static func lines(_ value: JSON) -> [String] {
        switch value {
        case .object(let members) where !members.isEmpty:
            members.flatMap { member -> [String] in
                let name = scalar(.string(member.name)) + ":"
                if isBlock(member.value) {
                    return [name] + lines(member.value).map { "  " + $0 }
                }
                return [name + " " + scalar(member.value)]
            }
        case .array(let elements) where !elements.isEmpty:
            elements.flatMap { element in
                lines(element).enumerated().map { ($0.offset == 0 ? "- " : "  ") + $0.element }
            }
        default: [scalar(value)]
        }
    }

    private static func isBlock(_ value: JSON) -> Bool {
        switch value {
        case .object(let members): !members.isEmpty
        case .array(let elements): !elements.isEmpty
        default: false
        }
    }

    /// JSON is YAML, so whatever could be read as something else is in quotes.
    private static func scalar(_ value: JSON) -> String {
        guard case .string(let text) = value else { return value.rendered() }
        let isPlain = text.wholeMatch(of: /[A-Za-z][A-Za-z0-9_.\/-]*/) != nil
        let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"]
        return isPlain && !words.contains(text.lowercased()) ? text : value.rendered()
    }

    /// Reads one document.
    package static func parse(_ text: String, named file: String) throws(ValuesError) -> JSON {
        let node: Node?
        do { node = try Yams.compose(yaml: text) } catch {
            throw ValuesError(place: file, problem: "\(error)")
        }
        guard let node else { return .object([]) }
        return value(of: node)
    }

    private static func value(of node: Node) -> JSON {
        switch node {
        case .mapping(let mapping):
            return .object(mapping.map { .init($0.key.string ?? "", value(of: $0.value)) })
        case .sequence(let sequence): return .array(sequence.map(value))
        default:
            let text = node.string ?? ""
            // What is in quotes is a text, whatever it looks like.
            if case .scalar(let scalar) = node, scalar.style != .plain, scalar.style != .any {
                return .string(text)
            }
            return plain(text)
        }
    }

    /// A word without quotes.
    static func plain(_ text: String) -> JSON {
        switch text {
        case "", "~", "null": .null
        case "true": .bool(true)
        case "false": .bool(false)
        default:
            text.wholeMatch(of: /-?(0|[1-9][0-9]*)(\.[0-9]+)?/) != nil
                ? .number(text) : .string(text)
        }
    }
}
