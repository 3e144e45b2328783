// SPDX-License-Identifier: Apache-2.0

import Equivalence
import RedirectionModel
import Testing

/// The comparison sees what is wrong, and nothing else.
@Suite struct ProverTests {
    @Test func `the model agrees with itself`() async throws {
        let (tally, found) = try await Prover(seed: 5).prove(200, lanes: 2) {
            ModelSubject(name: "model") { $0.verdict(for: $1.flow) }
        }
        #expect(found == nil)
        #expect(tally.policies >= 200)
        #expect(tally.attempts == 20 * tally.policies)
        #expect(tally.healed.isEmpty)
    }

    @Test(arguments: Mistake.allCases)
    func `a mistake is caught and its case is small`(_ mistake: Mistake) async throws {
        let (tally, found) = try await Prover(seed: 5).prove(1000, lanes: 1) {
            ModelSubject(name: mistake.rawValue) { mistake.verdict($0, $1) }
        }
        let disagreement = try #require(found, "\(tally)")
        #expect(disagreement.trial.size <= 5, "\(disagreement)")
        #expect(disagreement.trial.attempts.count == 1)
        // The case can be had from its numbers alone, and still tells right from wrong.
        let attempt = try #require(disagreement.trial.attempts.first)
        #expect(disagreement.expected == disagreement.trial.expectedOutcome(of: attempt))
        #expect(disagreement.expected != disagreement.observed)
    }

    /// A subject that is wrong the first time it is asked.
    private struct Hasty: Subject {
        let name = "hasty"
        var isFirst = true

        mutating func observe(_ trial: Trial) async throws -> Observation {
            defer { isFirst = false }
            return .outcomes(
                trial.attempts.map { isFirst ? .refused : trial.expectedOutcome(of: $0) })
        }
    }

    @Test func `what a second look does not confirm is told all the same`() async throws {
        let (tally, found) = try await Prover(seed: 5).prove(3, lanes: 1) { Hasty() }
        #expect(found == nil)
        #expect(tally.healed.count == 1)
    }

    @Test func `a refusal is counted by its part and compares nothing`() async throws {
        struct Refusing: Subject {
            let name = "refusing"
            mutating func observe(_ trial: Trial) async throws -> Observation {
                .refused(part: "anything")
            }
        }
        let (tally, found) = try await Prover(seed: 5).prove(3, lanes: 1) { Refusing() }
        #expect(found == nil)
        #expect(tally.policies == 0)
        #expect(tally.refusals == ["anything": 60])
    }
}
