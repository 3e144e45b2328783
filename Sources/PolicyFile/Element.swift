// SPDX-License-Identifier: Apache-2.0

/// A YAML document as a policy is read from it: texts, lists and mappings, each with its place.
struct Element {
    struct Place: Hashable {
        let line: Int
        let column: Int
    }

    struct Entry {
        let key: String
        let keyPlace: Place
        let value: Element
    }

    indirect enum Content {
        /// A text that was not quoted is empty where nothing was written.
        case text(String, isQuoted: Bool)
        case list([Element])
        case mapping([Entry])
    }

    let place: Place
    let content: Content

    /// What it is, for an error: "a list".
    var kind: String {
        switch content {
        case .text(let text, false) where ["", "~", "null"].contains(text.lowercased()): "nothing"
        case .text: "a single value"
        case .list: "a list"
        case .mapping: "a mapping"
        }
    }

    /// The text of a single value; `nil` for null and for anything else.
    var text: String? {
        guard case .text(let text, _) = content, kind != "nothing" else { return nil }
        return text
    }
}
