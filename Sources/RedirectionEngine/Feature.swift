// SPDX-License-Identifier: Apache-2.0

/// Something of the kernel's that a mechanism uses: a row of docs/kernel-support.md.
package struct Feature: Hashable, Sendable, Codable {
    package let mechanism: Mechanism
    /// As people call it; no two of a mechanism have the same.
    package let name: String
    /// The first mainline kernel that has it, as documented: "5.9".
    package let since: String
    /// What uses it.
    package let use: String
    /// What stands in for it; `nil` when the mechanism cannot work without it.
    package let replacement: String?
    /// How it is found out.
    package let probe: String
    /// The features without which this one is not asked for.
    package let prerequisites: [String]
    /// The suites that show it at work.
    package let tests: [String]

    /// Whether the mechanism cannot work without it.
    package var isRequired: Bool { replacement == nil }

    package init(
        _ mechanism: Mechanism, _ name: String, since: String, use: String, without: String? = nil,
        probe: String, after prerequisites: [String] = [], tests: [String] = []
    ) {
        self.mechanism = mechanism
        self.name = name
        self.since = since
        self.use = use
        replacement = without
        self.probe = probe
        self.prerequisites = prerequisites
        self.tests = tests
    }
}

/// A feature, and the question that is put to the kernel for it.
package struct FeatureProbe {
    package let feature: Feature
    package let ask: () -> ProbeAnswer

    package init(_ feature: Feature, ask: @escaping () -> ProbeAnswer) {
        self.feature = feature
        self.ask = ask
    }
}

extension [Feature] {
    /// The features as a table in Markdown.
    package var markdown: String {
        let head = """
            | feature | first | used for | where it is missing | found out by | tested by |
            |---|---|---|---|---|---|
            """
        return ([head] + map(\.markdown)).joined(separator: "\n")
    }
}

extension Feature {
    fileprivate var markdown: String {
        let missing = replacement ?? "no `\(mechanism)`"
        let cells = [name, since, use, missing, probe, tests.joined(separator: ", ")]
        return "| " + cells.joined(separator: " | ") + " |"
    }
}
