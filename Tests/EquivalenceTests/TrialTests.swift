// SPDX-License-Identifier: Apache-2.0

import Equivalence
import RedirectionModel
import Testing

@Suite struct TrialTests {
    @Test func `a seed and a number name a trial`() {
        #expect(Trial(seed: 1, policy: 7) == Trial(seed: 1, policy: 7))
        #expect(Trial(seed: 1, policy: 7) != Trial(seed: 1, policy: 8))
        #expect(Trial(seed: 2, policy: 7) != Trial(seed: 1, policy: 7))
    }

    @Test func `every reason of the verdict table is met, and often`() {
        var reasons: [Reason: Int] = [:]
        for number in 0..<300 {
            let trial = Trial(seed: 1, policy: number)
            for attempt in trial.attempts {
                reasons[trial.plan.verdict(for: attempt.flow).reason, default: 0] += 1
            }
        }
        for reason in Reason.allCases { #expect(reasons[reason, default: 0] >= 10, "\(reason)") }
    }
}
