// SPDX-License-Identifier: Apache-2.0

/// How long to wait before a server that has failed us is asked again.
///
/// Doubled with each failure up to a limit, and then shortened by chance, so that a cluster's nodes
/// do not come back all at once.
package struct Backoff: Sendable {
    package let first: Duration
    package let longest: Duration
    private var failures = 0

    package init(first: Duration = .milliseconds(500), longest: Duration = .seconds(30)) {
        self.first = first
        self.longest = longest
    }

    package mutating func succeed() { failures = 0 }

    package mutating func fail() -> Duration {
        var random = SystemRandomNumberGenerator()
        return fail(using: &random)
    }

    mutating func fail(using random: inout some RandomNumberGenerator) -> Duration {
        let whole = min(first * (1 << min(failures, 16)), longest)
        failures += 1
        return whole * Double.random(in: 0.5...1, using: &random)
    }
}
