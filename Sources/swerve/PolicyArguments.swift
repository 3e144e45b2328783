// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import LinuxKernel
internal import PolicyFile
internal import RedirectionModel

/// `key=value`, as kubectl(1) takes annotations.
struct AnnotationArgument: ExpressibleByArgument {
    let key: String
    let value: String

    init?(argument: String) {
        guard let equals = argument.firstIndex(of: "="), equals > argument.startIndex else {
            return nil
        }
        key = String(argument[..<equals])
        value = String(argument[argument.index(after: equals)...])
    }
}

extension IPAddress: ExpressibleByArgument {
    package init?(argument: String) { self.init(argument) }
}

extension PolicyMode: ExpressibleByArgument {}

/// A policy, in options.
struct PolicyArguments: ParsableArguments {
    @Option(
        name: [.short, .customLong("file")],
        help: """
            A policy file (docs/policy.md), in place of the workload's; repeat it for layers, the \
            nearest to the pod last.
            """)
    var file: [String] = []

    @Option(
        help: ArgumentHelp("An annotation of the pod; repeat it.", valueName: "key=value"))
    var annotation: [AnnotationArgument] = []

    @Option(help: "An address of the workload, repeat it (default: those it has).")
    var address: [IPAddress] = []

    /// What the files and annotations say, nearer than `policy`.
    func over(_ policy: Policy) throws -> Policy {
        var policy = policy
        for file in file { policy = policy.overlaid(by: try readPolicy(file)) }
        let pairs = Dictionary(annotation.map { ($0.key, $0.value) }) { $1 }
        return policy.overlaid(
            by: try PolicyAnnotations.parse(
                pairs, of: "--annotation", preset: policy.preset ?? .fsm))
    }
}

/// Reads a policy file; `-` is standard input.
func readPolicy(_ path: String) throws -> Policy {
    let text = try readFile(path == "-" ? "/dev/stdin" : path)
    return try PolicyFile.parse(Array(text.utf8), named: path == "-" ? "standard input" : path)
}
