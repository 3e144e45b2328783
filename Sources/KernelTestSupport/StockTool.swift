// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel

/// The stock tools, to check the product's work with: the product itself never runs them.
package enum StockTool {
    package struct Result: Equatable {
        package let status: Int
        package let output: String

        package init(status: Int, output: String) {
            self.status = status
            self.output = output
        }
    }

    /// Runs a command in `namespace` and returns what it printed, errors included.
    ///
    /// `input` must fit into a pipe's buffer, 64 KiB.
    package static func run(
        _ words: String..., input: String = "", in namespace: NetworkNamespace
    ) throws -> Result {
        try run(words, input: input, in: namespace)
    }

    package static func run(
        _ words: [String], input: String = "", in namespace: NetworkNamespace
    ) throws -> Result {
        let stdin = try OwnedDescriptor.pipe()
        let stdout = try OwnedDescriptor.pipe()
        var birth = ChildProcess.Birth(["timeout", "30"] + words)
        birth.namespace = namespace
        birth.input = stdin.reader.rawValue
        birth.output = stdout.writer.rawValue
        birth.error = stdout.writer.rawValue
        let child = try ChildProcess.start(birth)
        try feed(stdin.takeWriter(), input)
        let output = String(decoding: try stdout.takeReader().readAll(), as: UTF8.self)
        return Result(status: try child.waitForExit(), output: output)
    }

    /// Writes and closes, so that the reader comes to an end.
    private static func feed(_ writer: consuming OwnedDescriptor, _ text: String) throws {
        try writer.write(text)
    }

    /// The rules of a namespace, as every stock tool sees them, without counts and comments.
    package struct Snapshot: Equatable {
        package let ipv4: String
        package let ipv6: String
        package let nft: String

        package init(of namespace: NetworkNamespace) throws {
            ipv4 = StockTool.withoutCounts(
                try run("iptables-legacy-save", in: namespace).output)
            ipv6 = StockTool.withoutCounts(
                try run("ip6tables-legacy-save", in: namespace).output)
            nft = try run("nft", "--stateless", "list", "ruleset", in: namespace).output
        }
    }

    /// Drops the dates in comments, and sets policies' counts to zero.
    package static func withoutCounts(_ saved: String) -> String {
        saved.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { line in
            guard line.hasPrefix(":"), let bracket = line.lastIndex(of: "[") else {
                return String(line)
            }
            return line[..<bracket] + "[0:0]"
        }.joined(separator: "\n")
    }

    /// A saved ruleset as its tables in a fixed order; the tools list the youngest first.
    package static func tables(_ saved: String) -> [String] {
        withoutCounts(saved).split(separator: "\nCOMMIT")
            .map { String($0.drop { $0 == "\n" }) }.filter { !$0.isEmpty }.sorted()
    }

    /// Words separated by single blanks: where nft(8) breaks lines is its own affair.
    package static func words(_ text: String) -> String {
        text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }
}
