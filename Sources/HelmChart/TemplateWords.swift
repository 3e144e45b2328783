// SPDX-License-Identifier: Apache-2.0

internal import OrderedJSON

/// Reads what is in an action: calls with arguments, joined by bars.
struct TemplateWords {
    private let file: String
    private let text: String
    private var rest: Substring

    init(_ text: String, _ file: String) throws(TemplateError) {
        self.file = file
        self.text = text
        rest = text[...]
    }

    /// Reads to the end, or to the bracket that closes a nested one.
    mutating func pipeline(isNested: Bool) throws(TemplateError) -> Template.Pipeline {
        var pipeline = Template.Pipeline(calls: [])
        while true {
            pipeline.calls.append(try call())
            switch rest.popFirst() {
            case "|": continue
            case ")" where isNested: return pipeline
            case nil where !isNested: return pipeline
            default: throw problem()
            }
        }
    }

    private func problem() -> TemplateError {
        TemplateError(file: file, problem: "cannot read {{\(text)}}")
    }

    /// A call, up to a bar, a closing bracket or the end.
    private mutating func call() throws(TemplateError) -> Template.Call {
        var call = Template.Call(arguments: [])
        skipBlanks()
        if rest.first?.isLetter == true {
            let word = take { $0.isLetter }
            if word == "true" || word == "false" {
                call.arguments.append(.literal(.bool(word == "true")))
            } else {
                guard let function = Template.Function(rawValue: word) else { throw problem() }
                call.function = function
            }
        }
        while true {
            skipBlanks()
            guard let next = rest.first, next != "|", next != ")" else { break }
            call.arguments.append(try term(next))
        }
        guard call.function != nil || call.arguments.count == 1 else { throw problem() }
        return call
    }

    private mutating func term(_ first: Character) throws(TemplateError) -> Template.Term {
        switch first {
        case "(":
            rest.removeFirst()
            return .nested(try pipeline(isNested: true))
        case "\"":
            rest.removeFirst()
            let text = take { $0 != "\"" }
            guard rest.popFirst() == "\"", !text.contains("\\") else { throw problem() }
            return .literal(.string(text))
        case "$", ".":
            let isRoot = first == "$"
            if isRoot { rest.removeFirst() }
            let path = take { $0.isLetter || $0.isNumber || $0 == "." || $0 == "_" }
            return .path(isRoot: isRoot, path.split(separator: ".").map(String.init))
        case _ where first.isNumber: return .literal(.number(take(\.isNumber)))
        default: throw problem()
        }
    }

    private mutating func skipBlanks() { rest = rest.drop(while: \.isWhitespace) }

    private mutating func take(_ isPart: (Character) -> Bool) -> String {
        let part = rest.prefix(while: isPart)
        rest = rest[part.endIndex...]
        return String(part)
    }
}
