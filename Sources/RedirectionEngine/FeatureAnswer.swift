// SPDX-License-Identifier: Apache-2.0

/// A feature and whether the kernel has it, as operators are told: `swerve probe`, and the agent.
package struct FeatureAnswer: Hashable, Sendable, Encodable {
    package let mechanism: Mechanism
    package let feature: String
    package let since: String
    package let use: String
    package let isRequired: Bool
    /// What stands in for it.
    package let replacement: String?
    /// How it was found out.
    package let probe: String
    /// `yes`, `no` or `unknown`.
    package let answer: String
    package let because: String?

    package init(_ report: FeatureReport) {
        let feature = report.feature
        mechanism = feature.mechanism
        self.feature = feature.name
        since = feature.since
        use = feature.use.filter { $0 != "`" }
        isRequired = feature.isRequired
        replacement = feature.replacement?.filter { $0 != "`" }
        probe = feature.probe
        switch report.answer {
        case .yes: (answer, because) = ("yes", nil)
        case .no(let reason): (answer, because) = ("no", reason)
        case .unknown(let reason): (answer, because) = ("unknown", reason)
        }
    }
}
