// SPDX-License-Identifier: Apache-2.0

internal import OrderedJSON

/// A template of the chart: the part of Helm's language that the chart uses, and no more.
///
/// What is not known is an error when the template is read, so that a chart that Helm reads in
/// another way than we do does not come to be.
indirect enum Template: Sendable {
    case text(String)
    case output(Pipeline)
    /// `if`, `else if`, `else`: the first whose condition holds; no condition always does.
    case choice([(condition: Pipeline?, body: [Template])])
    case with(Pipeline, [Template])
    case definition(String, [Template])

    /// Calls, each given what the one before it made as its last argument.
    struct Pipeline: Sendable {
        var calls: [Call]
    }

    /// A value, or a function and its arguments.
    struct Call: Sendable {
        var function: Function?
        var arguments: [Term]
    }

    indirect enum Term: Sendable {
        case literal(JSON)
        /// `.a.b`, or `$.a.b` for what the whole template was given.
        case path(isRoot: Bool, [String])
        case nested(Pipeline)
    }

    enum Function: String, CaseIterable, Sendable {
        case and, base, `default`, dir, eq, include, indent, nindent, not, or, quote, toYaml
    }
}

/// What is wrong with a template, or with what it was given.
package struct TemplateError: Error, Hashable, CustomStringConvertible {
    let file: String
    let problem: String

    package var description: String { "\(file): \(problem)" }
}
