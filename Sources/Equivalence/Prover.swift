// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// Something that carries plans out and can be watched: a mechanism in a kernel, or a stand-in.
package protocol Subject {
    var name: String { get }
    /// How it differs from the model, and says so.
    var deviations: Set<Deviation> { get }

    /// Carries out the plan in a fresh world and tries everything; the outcomes in order.
    mutating func observe(_ trial: Trial) async throws -> Observation
}

extension Subject {
    package var deviations: Set<Deviation> { [] }

    /// Observes, and takes a plan that cannot be tried for one that comes out wrong throughout: a
    /// mechanism carries a plan out or refuses it by name.
    mutating func watch(_ trial: Trial) async -> Observation {
        do {
            return try await observe(trial)
        } catch {
            return .outcomes(trial.attempts.map { _ in .strange("\(error)") })
        }
    }
}

/// What came of a trial.
package enum Observation: Sendable {
    /// The mechanism cannot express the plan, and said which part.
    case refused(part: String)
    /// The outcomes of the attempts in order, and what was odd on the way to them.
    case outcomes([Outcome], oddities: [String] = [])
}

/// A subject that did what the plan does not say.
package struct Disagreement: Sendable {
    package let subject: String
    package let seed: UInt64
    package let policy: Int
    /// The smallest trial that shows it.
    package let trial: Trial
    package let expected: Outcome
    package let observed: Outcome
}

/// Lets a subject carry out random plans, or one that is given under random attempts, and compares
/// what is observed with what the model says.
package struct Prover {
    package let seed: UInt64
    package let attemptsPerPolicy: Int
    /// The plan to try; `nil` for random ones.
    package let plan: RedirectionPlan?

    package init(seed: UInt64, attemptsPerPolicy: Int = 20, of plan: RedirectionPlan? = nil) {
        self.seed = seed
        self.attemptsPerPolicy = attemptsPerPolicy
        self.plan = plan
    }

    private func trial(_ number: Int) -> Trial {
        guard let plan else {
            return Trial(seed: seed, policy: number, attempts: attemptsPerPolicy)
        }
        return Trial(of: plan, seed: seed, number: number, attempts: attemptsPerPolicy)
    }

    /// Tries policies until `count` of them are compared, in several lanes at once, each with a
    /// subject of its own.
    ///
    /// Those that the subject refuses do not count, but a subject that refuses nearly everything
    /// is given up.
    package func prove(
        _ count: Int, lanes: Int,
        reporting report: @escaping @Sendable (Tally) -> Void = { _ in },
        with makeSubject: @escaping @Sendable () async throws -> some Subject & Sendable
    ) async throws -> (Tally, Disagreement?) {
        let run = Run(of: count, report)
        let found = try await withThrowingTaskGroup { group in
            for _ in 0..<lanes {
                group.addTask {
                    var subject = try await makeSubject()
                    return try await prove(&subject, run)
                }
            }
            var found: Disagreement?
            for try await disagreement in group {
                guard let disagreement else { continue }
                found = found ?? disagreement
                group.cancelAll()
            }
            return found
        }
        return (await run.tally, found)
    }

    /// Tries policies as long as the run has some.
    ///
    /// Stops at the first disagreement and returns it shrunk. What a second look in a fresh world
    /// does not confirm is noted as healed.
    private func prove(
        _ subject: inout some Subject, _ run: Run
    ) async throws -> Disagreement? {
        while !Task.isCancelled, let number = await run.nextNumber() {
            var tally = Tally()
            var trial = trial(number)
            trial.deviations = subject.deviations
            let observation = await look(trial, number, &subject, &tally)
            if case .outcomes(let outcomes, _) = observation,
                let index = trial.firstDifference(in: outcomes)
            {
                var suspect = trial
                suspect.attempts = [trial.attempts[index]]
                if let found = await confirm(suspect, or: trial, &subject, number) {
                    return found
                }
                let healed = "policy \(number): \(trial.attempts[index]): \(outcomes[index])"
                tally.healed.append("\(subject.name): \(healed)")
            }
            await run.add(tally)
        }
        return nil
    }

    /// Hands out the policies, and sums up what came of them.
    private actor Run {
        private(set) var tally = Tally()
        private let count: Int
        private let report: @Sendable (Tally) -> Void
        private var handedOut = 0

        init(of count: Int, _ report: @escaping @Sendable (Tally) -> Void) {
            self.count = count
            self.report = report
        }

        /// The number of the next policy, `nil` when enough are compared.
        func nextNumber() -> Int? {
            guard tally.policies < count, handedOut < 20 * count else { return nil }
            defer { handedOut += 1 }
            return handedOut
        }

        func add(_ other: Tally) {
            tally += other
            report(tally)
        }
    }

    private func look(
        _ trial: Trial, _ number: Int, _ subject: inout some Subject, _ tally: inout Tally
    ) async -> Observation {
        let observation = await subject.watch(trial)
        switch observation {
        case .refused(let part): tally.refusals[part, default: 0] += 1
        case .outcomes(let outcomes, let oddities):
            tally.oddities += oddities.map { "\(subject.name): policy \(number): \($0)" }
            tally.policies += 1
            tally.attempts += outcomes.count
            for attempt in trial.attempts {
                let verdict = trial.plan.verdict(for: trial.flow(of: attempt))
                tally.reasons[verdict.reason, default: 0] += 1
            }
        }
        return observation
    }

    /// Looks again: at the attempt alone, then at the whole trial.
    private func confirm(
        _ suspect: Trial, or whole: Trial, _ subject: inout some Subject, _ number: Int
    ) async -> Disagreement? {
        var failing: Trial?
        for trial in [suspect, whole] where failing == nil {
            if await difference(trial, &subject) != nil { failing = trial }
        }
        guard let failing else { return nil }
        var watched = subject
        let smallest = await failing.shrunk { trial in
            await difference(trial, &watched) != nil
        }
        subject = watched
        let last = await difference(smallest, &subject)
        guard let (index, outcome) = last else { return nil }
        return Disagreement(
            subject: subject.name, seed: seed, policy: number, trial: smallest,
            expected: smallest.expectedOutcome(of: smallest.attempts[index]), observed: outcome)
    }

    /// The first attempt that does not come out as the plan says, and how it does.
    private func difference(
        _ trial: Trial, _ subject: inout some Subject
    ) async -> (Int, Outcome)? {
        guard case .outcomes(let outcomes, _) = await subject.watch(trial) else { return nil }
        return trial.firstDifference(in: outcomes).map { ($0, outcomes[$0]) }
    }
}

extension Trial {
    /// The first attempt whose outcome is not the expected one.
    package func firstDifference(in outcomes: [Outcome]) -> Int? {
        zip(attempts, outcomes).enumerated().first { _, pair in
            !expectedOutcome(of: pair.0).isMet(by: pair.1)
        }?.offset
    }
}

extension Disagreement: CustomStringConvertible {
    package var description: String {
        """
        \(subject) disagrees with the model: seed \(seed), policy \(policy)
          attempt   \(trial.attempts.map { "\($0)" }.joined(separator: "\n            "))
          verdict   \(trial.attempts.last.map { "\(trial.plan.verdict(for: trial.flow(of: $0)))" } ?? "")
          expected  \(expected)
          observed  \(observed)
          plan      \(trial.plan.peculiarities.joined(separator: "\n            "))
        """
    }
}
