// SPDX-License-Identifier: Apache-2.0

/// A JSON value that keeps what its text said: the order of members, the spelling of numbers.
///
/// What others wrote passes through us unchanged: the result of the plugins before ours, the node's
/// network configuration. Hence no dictionary, and no floating point.
package enum JSON: Hashable, Sendable {
    case null
    case bool(Bool)
    /// The number as it is spelled: `1e3`, `12345678901234567890`.
    case number(String)
    case string(String)
    case array([JSON])
    case object([Member])

    /// A name and what it stands for.
    package struct Member: Hashable, Sendable {
        package let name: String
        package var value: JSON

        package init(_ name: String, _ value: JSON) {
            self.name = name
            self.value = value
        }
    }
}

extension JSON {
    /// An object of these members, without those that have no value.
    package init(members: KeyValuePairs<String, JSON?>) {
        self = .object(members.compactMap { name, value in value.map { Member(name, $0) } })
    }

    package init(_ number: Int) { self = .number(String(number)) }

    /// The member called `name`, the last one if there are several: Go's runtimes read it so.
    package subscript(name: String) -> JSON? {
        guard case .object(let members) = self else { return nil }
        return members.last { $0.name == name }?.value
    }

    /// The same object with `name` as `value`, where it was if it was there; `nil` takes it out.
    package func setting(_ name: String, to value: JSON?) -> JSON {
        guard case .object(var members) = self else { return self }
        let place = members.firstIndex { $0.name == name }
        members.removeAll { $0.name == name }
        if let value {
            members.insert(Member(name, value), at: place ?? members.count)
        }
        return .object(members)
    }

    package var text: String? {
        if case .string(let text) = self { text } else { nil }
    }

    package var elements: [JSON]? {
        if case .array(let elements) = self { elements } else { nil }
    }

    package var members: [Member]? {
        if case .object(let members) = self { members } else { nil }
    }

    /// The value as a whole number, if it is spelled as one and fits.
    package var integer: Int? {
        if case .number(let digits) = self { Int(digits) } else { nil }
    }

    /// What kind of value it is, for a message: `a string`.
    package var kind: String {
        switch self {
        case .null: "null"
        case .bool: "a truth value"
        case .number: "a number"
        case .string: "a string"
        case .array: "a list"
        case .object: "an object"
        }
    }
}
