// SPDX-License-Identifier: Apache-2.0

package import OrderedJSON

/// Values as Helm merges them: the chart's own, files over them, `--set` over those.
package struct ChartValues: Sendable {
    /// What differs from the chart's own.
    package private(set) var overrides = JSON.object([])

    package init() {}

    /// Puts a file's values over what was there.
    package mutating func merge(file text: String, named file: String) throws(ValuesError) {
        let values = try YAMLText.parse(text, named: file)
        guard values.members != nil else {
            throw ValuesError(place: file, problem: "is \(values.kind), and no map of values")
        }
        overrides = Self.merge(values, over: overrides, keepingNull: true)
    }

    /// Puts `a.b=1,c=true` over what was there; with `asText` every value is a text.
    package mutating func set(_ expression: String, asText: Bool = false) throws(ValuesError) {
        for part in try Self.split(expression, at: ",") {
            let sides = try Self.split(part, at: "=", most: 1)
            guard sides.count == 2 else {
                throw ValuesError(place: part, problem: "write it as name=value")
            }
            let path = try Self.split(sides[0], at: ".").map(Self.unescaped)
            guard !path.contains(where: \.isEmpty), !sides[0].contains("[") else {
                throw ValuesError(
                    place: sides[0],
                    problem: "is no name; names are joined by dots, and a list is set whole: "
                        + "name={a,b}")
            }
            let value = try Self.value(sides[1], asText)
            overrides = Self.merge(
                path.reversed().reduce(value) { .object([.init($1, $0)]) }, over: overrides,
                keepingNull: true)
        }
    }

    /// All values there are.
    func over(_ defaults: JSON) -> JSON {
        Self.merge(overrides, over: defaults, keepingNull: false)
    }

    /// Maps are merged, everything else is replaced; `null` takes a value away.
    private static func merge(_ upper: JSON, over lower: JSON, keepingNull: Bool) -> JSON {
        guard let members = upper.members, lower.members != nil else { return upper }
        return members.reduce(lower) { merged, member in
            if member.value == .null, !keepingNull { return merged.setting(member.name, to: nil) }
            let below = merged[member.name] ?? .object([])
            let isMap = member.value.members != nil
            return merged.setting(
                member.name,
                to: isMap
                    ? merge(member.value, over: below, keepingNull: keepingNull) : member.value)
        }
    }

    private static func value(_ text: String, _ asText: Bool) throws(ValuesError) -> JSON {
        if text.hasPrefix("{"), text.hasSuffix("}") {
            let items = String(text.dropFirst().dropLast())
            if items.isEmpty { return .array([]) }
            return .array(try split(items, at: ",").map { scalar(unescaped($0), asText) })
        }
        return scalar(unescaped(text), asText)
    }

    /// Helm's own rule: whole numbers that could not be meant as a text of digits, and three words.
    private static func scalar(_ text: String, _ asText: Bool) -> JSON {
        if asText { return .string(text) }
        switch text {
        case "true": return .bool(true)
        case "false": return .bool(false)
        case "null": return .null
        default:
            let isNumber = text.wholeMatch(of: /0|-?[1-9][0-9]*/) != nil && Int(text) != nil
            return isNumber ? .number(text) : .string(text)
        }
    }

    /// Parts between separators that are neither escaped nor in braces.
    private static func split(
        _ text: String, at separator: Character, most: Int = .max
    ) throws(ValuesError) -> [String] {
        var parts = [""]
        var isEscaped = false
        var depth = 0
        for character in text {
            if character == separator, !isEscaped, depth == 0, parts.count <= most {
                parts.append("")
                continue
            }
            if !isEscaped, character == "{" { depth += 1 }
            if !isEscaped, character == "}" { depth -= 1 }
            isEscaped = character == "\\" && !isEscaped
            parts[parts.count - 1].append(character)
        }
        guard depth == 0 else { throw ValuesError(place: text, problem: "{ without }") }
        return parts
    }

    private static func unescaped(_ text: String) -> String {
        var result = ""
        var isEscaped = false
        for character in text {
            isEscaped = character == "\\" && !isEscaped
            if !isEscaped { result.append(character) }
        }
        return result
    }
}
