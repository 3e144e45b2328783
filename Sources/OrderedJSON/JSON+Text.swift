// SPDX-License-Identifier: Apache-2.0

extension JSON {
    /// The value as text: on one line, or indented by two blanks a level for people to read.
    package func rendered(indented: Bool = false) -> String {
        var text = ""
        write(to: &text, indent: indented ? 0 : nil)
        return text
    }

    private func write(to text: inout String, indent: Int?) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .number(let digits): text += digits
        case .string(let value): Self.quote(value, to: &text)
        case .array(let elements):
            Self.list(elements, in: ("[", "]"), to: &text, indent) { $0.write(to: &$1, indent: $2) }
        case .object(let members):
            Self.list(members, in: ("{", "}"), to: &text, indent) { member, text, indent in
                Self.quote(member.name, to: &text)
                text += indent == nil ? ":" : ": "
                member.value.write(to: &text, indent: indent)
            }
        }
    }

    private static func list<Item>(
        _ items: [Item], in brackets: (String, String), to text: inout String, _ indent: Int?,
        _ write: (Item, inout String, Int?) -> Void
    ) {
        text += brackets.0
        let inner = indent.map { $0 + 2 }
        for (place, item) in items.enumerated() {
            if place > 0 { text += "," }
            newLine(in: &text, inner)
            write(item, &text, inner)
        }
        if !items.isEmpty { newLine(in: &text, indent) }
        text += brackets.1
    }

    private static func newLine(in text: inout String, _ indent: Int?) {
        guard let indent else { return }
        text += "\n" + String(repeating: " ", count: indent)
    }

    private static func quote(_ value: String, to text: inout String) {
        text += "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\t": text += "\\t"
            case "\r": text += "\\r"
            case _ where scalar.value < 0x20 || scalar.value == 0x7f:
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}
