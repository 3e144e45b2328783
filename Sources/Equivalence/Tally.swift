// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// What a run compared, what was refused, and what only a second look put right.
package struct Tally: Sendable {
    package var policies = 0
    package var attempts = 0
    package var reasons: [Reason: Int] = [:]
    package var refusals: [String: Int] = [:]
    /// Differences that were gone when looked at again.
    package var healed: [String] = []
    /// What came out right and was odd all the same, such as a connection that took long.
    package var oddities: [String] = []

    package init() {}

    /// How many policies were tried, the refused ones among them.
    package var tried: Int { policies + refusals.values.reduce(0, +) }

    package static func += (sum: inout Tally, other: Tally) {
        sum.policies += other.policies
        sum.attempts += other.attempts
        sum.reasons.merge(other.reasons, uniquingKeysWith: +)
        sum.refusals.merge(other.refusals, uniquingKeysWith: +)
        sum.healed += other.healed
        sum.oddities += other.oddities
    }
}

extension Tally: CustomStringConvertible {
    package var description: String {
        let parts = refusals.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
            .map { "\($0.value) for \($0.key)" }.joined(separator: ", ")
        let reasons = Reason.allCases.map { "\($0) \(self.reasons[$0] ?? 0)" }
            .joined(separator: ", ")
        return """
            \(policies) policies with \(attempts) attempts agreed with the model
              refused   \(tried - policies)\(parts.isEmpty ? "" : ": " + parts)
              reasons   \(reasons)
              healed    \(healed.count)\(healed.map { "\n    " + $0 }.joined())
              odd       \(oddities.count)\(oddities.map { "\n    " + $0 }.joined())
            """
    }
}
