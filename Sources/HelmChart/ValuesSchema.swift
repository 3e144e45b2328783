// SPDX-License-Identifier: Apache-2.0

internal import OrderedJSON
internal import PolicyFile

/// The chart's values.schema.json: the part of JSON Schema that it uses, and no more.
struct ValuesSchema {
    private let schema: JSON
    /// The names of all values, such as `interceptor.debug`.
    private let names: [String]

    private static let known: Set<String> = [
        "$schema", "title", "type", "additionalProperties", "properties", "items", "enum",
        "pattern",
        "minimum", "maximum", "minLength",
    ]

    init(_ schema: JSON) throws(ValuesError) {
        self.schema = schema
        var names: [String] = []
        try Self.list(schema, "", &names)
        self.names = names
    }

    /// Lists the names, and refuses what would be passed over.
    private static func list(
        _ schema: JSON, _ place: String, _ names: inout [String]
    ) throws(ValuesError) {
        if !place.isEmpty { names.append(place) }
        for member in schema.members ?? [] where !known.contains(member.name) {
            throw ValuesError(place: "schema of \(place)", problem: "\(member.name) is not known")
        }
        for member in schema["properties"]?.members ?? [] {
            try list(member.value, joined(place, member.name), &names)
        }
    }

    /// Fails at the first value that is not allowed.
    func check(_ values: JSON) throws(ValuesError) { try check(values, schema, "") }

    private func check(_ value: JSON, _ schema: JSON, _ place: String) throws(ValuesError) {
        try checkType(value, schema, place)
        if let allowed = schema["enum"]?.elements, !allowed.contains(value) {
            let list = allowed.compactMap(\.text).joined(separator: ", ")
            throw ValuesError(
                place: place, problem: "\(value.rendered()) is not one of \(list)")
        }
        switch value {
        case .string(let text): try checkText(text, schema, place)
        case .number(let digits): try checkNumber(Double(digits) ?? .nan, schema, place)
        case .array(let elements):
            guard let items = schema["items"] else { return }
            for (index, element) in elements.enumerated() {
                try check(element, items, "\(place)[\(index)]")
            }
        case .object(let members): try checkMembers(members, schema, place)
        default: break
        }
    }

    private func checkType(_ value: JSON, _ schema: JSON, _ place: String) throws(ValuesError) {
        let types = schema["type"]?.elements?.compactMap(\.text) ?? [schema["type"]?.text ?? ""]
        guard !types.contains(where: { value.isOf($0) }), types != [""] else { return }
        var problem = "\(value.rendered()) is \(value.kind); give "
        problem += types.map(Self.article).joined(separator: " or ")
        if types.contains("string"), value.members == nil, value.elements == nil {
            problem += " (--set-string)"
        }
        throw ValuesError(place: place, problem: problem)
    }

    private static func article(_ type: String) -> String {
        switch type {
        case "integer": "a whole number"
        case "boolean": "true or false"
        case "array": "a list"
        case "object": "a map of values"
        default: "a \(type)"
        }
    }

    private func checkText(_ text: String, _ schema: JSON, _ place: String) throws(ValuesError) {
        if let least = schema["minLength"]?.integer, text.count < least {
            throw ValuesError(place: place, problem: "must not be empty")
        }
        guard let pattern = schema["pattern"]?.text else { return }
        guard let regex = try? Regex(pattern) else {
            throw ValuesError(place: "schema of \(place)", problem: "\(pattern) cannot be read")
        }
        if text.firstMatch(of: regex) == nil {
            throw ValuesError(place: place, problem: "\"\(text)\" does not match \(pattern)")
        }
    }

    private func checkNumber(_ number: Double, _ schema: JSON, _ place: String) throws(ValuesError)
    {
        let least = schema["minimum"]?.integer.map(Double.init) ?? -.infinity
        let most = schema["maximum"]?.integer.map(Double.init) ?? .infinity
        guard least <= number, number <= most else {
            let range =
                most.isFinite ? "from \(Int(least)) to \(Int(most))" : "\(Int(least)) or more"
            throw ValuesError(place: place, problem: "must be \(range)")
        }
    }

    private func checkMembers(
        _ members: [JSON.Member], _ schema: JSON, _ place: String
    ) throws(ValuesError) {
        for member in members {
            let inner = Self.joined(place, member.name)
            if let property = schema["properties"]?[member.name] {
                // Nothing is the chart's own word again.
                if member.value != .null { try check(member.value, property, inner) }
                continue
            }
            switch schema["additionalProperties"] {
            case .bool(false): throw unknown(Self.leaf(member.value, inner))
            case let rest?: try check(member.value, rest, inner)
            case nil: break
            }
        }
    }

    /// An unknown name, with the one that was probably meant.
    private func unknown(_ place: String) -> ValuesError {
        let meant = namesake(place) ?? nearest(place, among: names)
        return ValuesError(
            place: place,
            problem: "is not a value of the chart" + (meant.map { "; did you mean \($0)?" } ?? ""))
    }

    /// What was said below an unknown name: the first of it, for it is said to somebody who said one.
    private static func leaf(_ value: JSON, _ place: String) -> String {
        guard let first = value.members?.first else { return place }
        return leaf(first.value, joined(place, first.name))
    }

    /// The one value of ours with the same last name: `fsm.fsmInterceptor.debug` is FSM's for
    /// `interceptor.debug`.
    private func namesake(_ place: String) -> String? {
        let last = place.split(separator: ".").last
        let candidates = names.filter { $0.split(separator: ".").last == last }
        return candidates.count == 1 ? candidates[0] : nil
    }

    private static func joined(_ place: String, _ name: String) -> String {
        place.isEmpty ? name : place + "." + name
    }
}

extension JSON {
    /// Whether the value is of a type, as JSON Schema calls them.
    fileprivate func isOf(_ type: String) -> Bool {
        switch (self, type) {
        case (.string, "string"), (.bool, "boolean"), (.array, "array"), (.object, "object"),
            (.number, "number"), (.null, "null"):
            true
        case (.number, "integer"): integer != nil
        default: false
        }
    }
}
