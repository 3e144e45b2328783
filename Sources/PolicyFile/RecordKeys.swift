// SPDX-License-Identifier: Apache-2.0

/// How a record's mapping in a file becomes the text that an annotation has.
struct RecordKeys: Sendable {
    struct Key: Sendable {
        let name: String
        let isList: Bool
        let isRequired: Bool
        /// Only the last part may have colons in it: they separate the parts.
        var mayHaveColons = false
    }

    let keys: [Key]

    /// A record of an annotation, without blanks around its parts and their items.
    func withoutBlanks(_ text: String) -> String {
        text.split(separator: ":", maxSplits: keys.count - 1, omittingEmptySubsequences: false)
            .map { String($0).items(separatedBy: ",").joined(separator: ",") }
            .joined(separator: ":")
    }

    static let byPath: [String: RecordKeys] = [
        "outbound.exclude.portsByUser": RecordKeys(keys: [
            Key(name: "uids", isList: true, isRequired: true),
            Key(name: "ports", isList: true, isRequired: true),
            Key(name: "protocols", isList: true, isRequired: false),
        ]),
        "virtualInterfaces": RecordKeys(keys: [
            Key(name: "name", isList: false, isRequired: true),
            Key(name: "localNetworks", isList: true, isRequired: false, mayHaveColons: true),
        ]),
    ]
}
