// SPDX-License-Identifier: Apache-2.0

internal import OrderedJSON

/// Fills templates with values.
struct TemplateRun {
    let file: String
    /// What `$` is.
    let root: JSON
    /// Named templates of all files.
    let definitions: [String: [Template]]

    func text(of body: [Template], _ dot: JSON) throws(TemplateError) -> String {
        var text = ""
        for part in body {
            switch part {
            case .text(let literal): text += literal
            case .output(let pipeline): text += Self.shown(try value(of: pipeline, dot))
            case .choice(let branches):
                for branch in branches where try holds(branch.condition, dot) {
                    text += try self.text(of: branch.body, dot)
                    break
                }
            case .with(let pipeline, let body):
                let value = try value(of: pipeline, dot)
                if value.isTrue { text += try self.text(of: body, value) }
            case .definition: break
            }
        }
        return text
    }

    private func holds(_ condition: Template.Pipeline?, _ dot: JSON) throws(TemplateError) -> Bool {
        guard let condition else { return true }
        return try value(of: condition, dot).isTrue
    }

    private func value(of pipeline: Template.Pipeline, _ dot: JSON) throws(TemplateError) -> JSON {
        var last: JSON?
        for call in pipeline.calls {
            var arguments: [JSON] = []
            for argument in call.arguments { arguments.append(try value(of: argument, dot)) }
            if let last { arguments.append(last) }
            guard let function = call.function else {
                last = arguments.first
                continue
            }
            last = try apply(function, arguments)
        }
        return last ?? .null
    }

    private func value(of term: Template.Term, _ dot: JSON) throws(TemplateError) -> JSON {
        switch term {
        case .literal(let value): return value
        case .nested(let pipeline): return try value(of: pipeline, dot)
        case .path(let isRoot, let names):
            var value = isRoot ? root : dot
            for name in names {
                // As in Go: what is not in a map is nothing, what is in no map is an error.
                guard value.members != nil else {
                    let path = names.joined(separator: ".")
                    throw TemplateError(file: file, problem: "there is no .\(path)")
                }
                value = value[name] ?? .null
            }
            return value
        }
    }

    private func apply(
        _ function: Template.Function, _ arguments: [JSON]
    ) throws(TemplateError) -> JSON {
        switch (function, arguments.count) {
        case (.and, 2...): arguments.first { !$0.isTrue } ?? arguments[arguments.count - 1]
        case (.or, 2...): arguments.first(where: \.isTrue) ?? arguments[arguments.count - 1]
        case (.not, 1): .bool(!arguments[0].isTrue)
        case (.eq, 2): .bool(arguments[0] == arguments[1])
        case (.default, 2): arguments[1].isTrue ? arguments[1] : arguments[0]
        case (.quote, 1): .string(JSON.string(Self.shown(arguments[0])).rendered())
        case (.toYaml, 1): .string(YAMLText.render(arguments[0]))
        case (.base, 1): .string(Self.parts(of: arguments[0]).last ?? "/")
        case (.dir, 1):
            .string("/" + Self.parts(of: arguments[0]).dropLast().joined(separator: "/"))
        case (.indent, 2): .string(try indented(arguments[1], arguments[0]))
        case (.nindent, 2): .string("\n" + (try indented(arguments[1], arguments[0])))
        case (.include, 2): .string(try include(arguments[0].text ?? "", arguments[1]))
        default:
            throw TemplateError(
                file: file, problem: "\(function) with \(arguments.count) arguments")
        }
    }

    private func include(_ name: String, _ dot: JSON) throws(TemplateError) -> String {
        guard let body = definitions[name] else {
            throw TemplateError(file: file, problem: "no template is called \(name)")
        }
        // There, the dollar is what the template is given.
        return try TemplateRun(file: file, root: dot, definitions: definitions).text(of: body, dot)
    }

    private func indented(_ value: JSON, _ width: JSON) throws(TemplateError) -> String {
        guard let width = width.integer, width >= 0 else {
            throw TemplateError(file: file, problem: "indented by \(width.kind)")
        }
        let blanks = String(repeating: " ", count: width)
        return blanks
            + Self.shown(value).split(separator: "\n", omittingEmptySubsequences: false)
            .joined(separator: "\n" + blanks)
    }

    private static func parts(of path: JSON) -> [String] {
        (path.text ?? "").split(separator: "/").map(String.init)
    }

    /// A value as it is printed.
    private static func shown(_ value: JSON) -> String {
        switch value {
        case .null: ""
        case .string(let text): text
        default: value.rendered()
        }
    }
}

extension JSON {
    /// What counts as true in a template: everything but nothing, no, zero and what is empty.
    var isTrue: Bool {
        switch self {
        case .null: false
        case .bool(let value): value
        case .number(let digits): Double(digits) != 0
        case .string(let text): !text.isEmpty
        case .array(let elements): !elements.isEmpty
        case .object(let members): !members.isEmpty
        }
    }
}
