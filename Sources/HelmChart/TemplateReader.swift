// SPDX-License-Identifier: Apache-2.0

/// Reads a file of templates.
struct TemplateReader {
    private let file: String
    private var pieces: ArraySlice<Piece>

    /// What is between `{{` and `}}`, or beside them.
    private enum Piece {
        case text(String)
        case action(String)
    }

    /// What ends a body.
    private enum End {
        case end
        case otherwise(String)
        case file
    }

    static func read(_ text: String, named file: String) throws(TemplateError) -> [Template] {
        var reader = TemplateReader(file: file, pieces: try split(text, file)[...])
        let (body, end) = try reader.body()
        guard case .file = end else { throw TemplateError(file: file, problem: "nothing to end") }
        return body
    }

    /// Splits, and takes the blanks away that a hyphen at a brace takes away.
    private static func split(_ text: String, _ file: String) throws(TemplateError) -> [Piece] {
        var pieces: [Piece] = []
        var rest = text[...]
        var isTrimmed = false
        while let open = rest.firstRange(of: "{{") {
            guard let close = rest[open.upperBound...].firstRange(of: "}}") else {
                throw TemplateError(file: file, problem: "{{ without }}")
            }
            var before = rest[..<open.lowerBound]
            var inside = rest[open.upperBound..<close.lowerBound]
            if isTrimmed { before = before.drop(while: \.isWhitespace) }
            if inside.hasPrefix("- ") {
                inside = inside.dropFirst(2)
                while before.last?.isWhitespace == true { before.removeLast() }
            }
            isTrimmed = inside.hasSuffix(" -")
            if isTrimmed { inside = inside.dropLast(2) }
            if !before.isEmpty { pieces.append(.text(String(before))) }
            pieces.append(.action(String(inside)))
            rest = rest[close.upperBound...]
        }
        if isTrimmed { rest = rest.drop(while: \.isWhitespace) }
        if !rest.isEmpty { pieces.append(.text(String(rest))) }
        return pieces
    }

    private mutating func body() throws(TemplateError) -> ([Template], End) {
        var body: [Template] = []
        while let piece = pieces.popFirst() {
            guard case .action(let action) = piece else {
                if case .text(let text) = piece { body.append(.text(text)) }
                continue
            }
            let words = action.split(maxSplits: 1, whereSeparator: \.isWhitespace)
            let rest = words.count > 1 ? String(words[1]) : ""
            switch words.first {
            case "end": return (body, .end)
            case "else": return (body, .otherwise(rest))
            case "if": body.append(try choice(rest))
            case "with":
                let pipeline = try self.pipeline(rest)
                body.append(.with(pipeline, try whole()))
            case "define":
                guard rest.hasPrefix("\""), let end = rest.dropFirst().firstIndex(of: "\"") else {
                    throw TemplateError(file: file, problem: "define \(rest)")
                }
                let name = rest[rest.index(after: rest.startIndex)..<end]
                body.append(.definition(String(name), try whole()))
            case let word?:
                if !word.hasPrefix("/*") { body.append(.output(try pipeline(action))) }
            case nil: break
            }
        }
        return (body, .file)
    }

    /// A body with nothing but `end` at its end.
    private mutating func whole() throws(TemplateError) -> [Template] {
        let (body, end) = try body()
        guard case .end = end else { throw TemplateError(file: file, problem: "no end") }
        return body
    }

    private mutating func choice(_ condition: String) throws(TemplateError) -> Template {
        var branches: [(condition: Template.Pipeline?, body: [Template])] = []
        var next: String? = condition
        while true {
            let condition = try next.map { text throws(TemplateError) in try pipeline(text) }
            let (body, end) = try body()
            branches.append((condition, body))
            switch end {
            case .end: return .choice(branches)
            case .otherwise("") where next != nil: next = nil
            case .otherwise(let rest) where rest.hasPrefix("if "):
                next = String(rest.dropFirst(3))
            default: throw TemplateError(file: file, problem: "if without end")
            }
        }
    }

    private func pipeline(_ text: String) throws(TemplateError) -> Template.Pipeline {
        var words = try TemplateWords(text, file)
        return try words.pipeline(isNested: false)
    }
}
