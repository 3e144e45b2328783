// SPDX-License-Identifier: Apache-2.0

internal import Yams

/// Why a text is not one YAML document that can be looked at.
struct SyntaxProblem: Error, Hashable {
    var line = 0
    var column = 0
    let problem: String
}

extension Element {
    /// More is not a policy: 50,000 networks, each on a line of its own, take 1.5 MB.
    static let sizeLimit = 4 << 20
    /// Lines and commas: each value takes one, and some hundred bytes of memory.
    static let valueLimit = 250_000

    /// Reads one YAML document; `nil` when there is none.
    init?(yaml bytes: [UInt8]) throws(SyntaxProblem) {
        guard bytes.count <= Self.sizeLimit else {
            throw SyntaxProblem(
                problem: "the file has \(bytes.count) bytes; \(Self.sizeLimit) are allowed")
        }
        let marks = bytes.count { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: ",") }
        guard marks <= Self.valueLimit else {
            throw SyntaxProblem(
                problem: "the file has \(marks) lines and commas; \(Self.valueLimit) are allowed")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw SyntaxProblem(problem: "the file is not UTF-8 text")
        }
        if let finding = YAMLScreen.finding(in: bytes) {
            throw SyntaxProblem(
                line: finding.line, column: finding.column, problem: "this \(finding.problem)")
        }
        guard let node = try Self.compose(text) else { return nil }
        try self.init(node)
    }

    /// The parser keeps a pointer to the text's bytes, which only stay in place when there are too
    /// many of them to be kept within the string itself: hence the comment.
    private static func compose(_ text: String) throws(SyntaxProblem) -> Node? {
        do {
            return try Parser(yaml: text + "\n# end of the document\n", encoding: .utf8)
                .singleRoot()
        } catch let error as YamlError {
            throw SyntaxProblem(error)
        } catch {
            throw SyntaxProblem(problem: "\(error)")
        }
    }

    private init(_ node: Node) throws(SyntaxProblem) {
        let place = Place(line: node.mark?.line ?? 0, column: node.mark?.column ?? 0)
        guard node.anchor == nil else {
            throw SyntaxProblem(
                line: place.line, column: place.column, problem: "anchors are not allowed")
        }
        let content: Content
        switch node {
        case .scalar(let scalar):
            let isQuoted = scalar.style == .singleQuoted || scalar.style == .doubleQuoted
            content = .text(scalar.string, isQuoted: isQuoted)
        case .sequence(let sequence):
            var elements: [Element] = []
            for node in sequence { elements.append(try Element(node)) }
            content = .list(elements)
        case .mapping(let mapping):
            var entries: [Entry] = []
            for (key, value) in mapping { entries.append(try Entry(key, value)) }
            content = .mapping(entries)
        case .alias:
            throw SyntaxProblem(
                line: place.line, column: place.column, problem: "aliases are not allowed")
        }
        self.init(place: place, content: content)
    }
}

extension Element.Entry {
    fileprivate init(_ key: Node, _ value: Node) throws(SyntaxProblem) {
        let place = Element.Place(line: key.mark?.line ?? 0, column: key.mark?.column ?? 0)
        guard case .scalar(let scalar) = key, key.anchor == nil else {
            throw SyntaxProblem(
                line: place.line, column: place.column, problem: "a key must be a plain name")
        }
        self.init(key: scalar.string, keyPlace: place, value: try Element(value))
    }
}

extension SyntaxProblem {
    fileprivate init(_ error: YamlError) {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            self.init(line: mark.line, column: mark.column, problem: problem)
        case .reader(let problem, _, _, _):
            self.init(problem: "not YAML: \(problem)")
        case .duplicatedKeysInMapping(let duplicates, let context):
            let names = duplicates.joined(separator: ", ")
            self.init(
                line: context.mark.line, column: context.mark.column,
                problem: "more than once in one mapping: \(names)")
        default:
            self.init(problem: "not YAML: \(error)")
        }
    }
}
