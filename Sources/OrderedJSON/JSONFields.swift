// SPDX-License-Identifier: Apache-2.0

/// A field of an object that is missing, unknown, or not what it should be.
package struct FieldError: Error, Hashable {
    /// Where it is, from the top: `pod.annotations`.
    package let field: String
    /// What is there, as JSON; `nil` where something should be and is not.
    package let value: String?
    /// What is wrong, in words that follow the field's name.
    package let problem: String
    /// Whether nobody knows a field of that name.
    package let isUnknown: Bool

    package init(_ field: String, _ value: JSON?, _ problem: String, isUnknown: Bool = false) {
        self.field = field
        self.value = value?.rendered()
        self.problem = problem
        self.isUnknown = isUnknown
    }

    package var message: String { field + (value.map { " (\($0))" } ?? "") + ": " + problem }
}

/// Reads an object's fields one by one, strictly: a field of the wrong kind is an error that names it.
package struct JSONFields {
    private let json: JSON
    private let prefix: String

    /// Reads `json`, which is called `place` in errors; `nil` is the top.
    package init(_ json: JSON, at place: String? = nil) throws(FieldError) {
        guard json.members != nil else {
            throw FieldError(place ?? "the document", json, "must be an object, is \(json.kind)")
        }
        self.json = json
        prefix = place.map { $0 + "." } ?? ""
    }

    /// The value of a field that is there and not null.
    package func value(_ name: String) -> JSON? { json[name] == .null ? nil : json[name] }

    /// Where a field is, for a message.
    package func place(_ name: String) -> String { prefix + name }

    /// An error about a field as it stands.
    package func error(_ name: String, _ problem: String) -> FieldError {
        FieldError(place(name), json[name], problem)
    }

    package func string(_ name: String) throws(FieldError) -> String? {
        guard let value = value(name) else { return nil }
        guard let text = value.text else { throw error(name, "must be a string, is \(value.kind)") }
        return text
    }

    package func truth(_ name: String) throws(FieldError) -> Bool? {
        guard let value = value(name) else { return nil }
        guard case .bool(let truth) = value else {
            throw error(name, "must be true or false, is \(value.kind)")
        }
        return truth
    }

    package func elements(_ name: String) throws(FieldError) -> [JSON]? {
        guard let value = value(name) else { return nil }
        guard let elements = value.elements else {
            throw error(name, "must be a list, is \(value.kind)")
        }
        return elements
    }

    package func fields(_ name: String) throws(FieldError) -> JSONFields? {
        guard let value = value(name) else { return nil }
        return try JSONFields(value, at: place(name))
    }

    /// A list of strings.
    package func strings(_ name: String) throws(FieldError) -> [String]? {
        guard let elements = try elements(name) else { return nil }
        var strings: [String] = []
        for element in elements {
            guard let text = element.text else {
                throw error(name, "must be a list of strings, has \(element.kind) in it")
            }
            strings.append(text)
        }
        return strings
    }

    /// An object whose values are all strings; of members with the same name, the last.
    package func dictionary(_ name: String) throws(FieldError) -> [String: String]? {
        guard let members = try fields(name)?.json.members else { return nil }
        var dictionary: [String: String] = [:]
        for member in members {
            guard let text = member.value.text else {
                throw FieldError(
                    place(name) + "." + member.name, member.value,
                    "must be a string, is \(member.value.kind)")
            }
            dictionary[member.name] = text
        }
        return dictionary
    }

    /// Insists that a field is there.
    package func required<Value>(
        _ name: String, _ read: (String) throws(FieldError) -> Value?
    ) throws(FieldError) -> Value {
        guard let value = try read(name) else { throw error(name, "must be given") }
        return value
    }

    /// Refuses the first field whose name is not among `known`.
    package func refuse(otherThan known: [String]) throws(FieldError) {
        for member in json.members ?? [] where !known.contains(member.name) {
            throw FieldError(
                place(member.name), member.value,
                "is unknown; known are \(known.joined(separator: ", "))", isUnknown: true)
        }
    }
}
