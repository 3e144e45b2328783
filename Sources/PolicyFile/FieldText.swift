// SPDX-License-Identifier: Apache-2.0

/// What stands in a field, as text: the common form of a YAML node and of an annotation.
enum FieldText: Hashable, Sendable {
    case value(String)
    case list([String])

    /// The texts of its items; a single value is a list of one.
    var items: [String] {
        switch self {
        case .value(let text): [text]
        case .list(let texts): texts
        }
    }
}
