// SPDX-License-Identifier: Apache-2.0

import PolicyFile
import PolicyFuzzing
import RedirectionModel
import Testing

/// 100,000 inputs that are right, almost right, or nothing of the kind.
///
/// Every run has the same ones; `FuzzTests.seed` gives others. `make fuzz` looks further, guided by
/// what the readers' code does.
@Suite(.timeLimit(.minutes(10))) struct FuzzTests {
    static let seed: UInt64 = 20_261_121

    /// Counts and what went wrong, of one share of the inputs.
    private struct Tally {
        var accepted = 0
        var refused = 0
        var violations: [String] = []
        var slowest = Duration.zero

        mutating func count(_ input: @autoclosure () -> String, _ check: () -> FuzzCheck.Result) {
            let clock = ContinuousClock()
            let start = clock.now
            switch check() {
            case .accepted: accepted += 1
            case .refused: refused += 1
            case .violated(let what): violations.append("\(what)\nin:\n\(input())")
            }
            slowest = max(slowest, clock.now - start)
        }

        /// A share of either kind, or the inputs say nothing about one of them.
        func expectGood() {
            #expect(violations.isEmpty, "\(violations.prefix(3).joined(separator: "\n\n"))")
            #expect(accepted > 1000 && refused > 1000, "\(accepted) accepted, \(refused) refused")
            #expect(slowest < .seconds(5))
        }
    }

    @Test(arguments: 0..<4)
    func `files, whole and mutated`(_ share: UInt64) {
        let generator = SeededGenerator(seed: Self.seed &+ share)
        var policies = RandomPolicy(generator)
        var mutator = Mutator(SeededGenerator(seed: ~Self.seed &+ share))
        var tally = Tally()
        for _ in 0..<3750 {
            let text = PolicyFile.render(policies.next())
            tally.count(text) {
                let result = FuzzCheck.check(file: Array(text.utf8))
                return result == .refused ? .violated("a rendered policy is refused") : result
            }
            for _ in 0..<3 {
                let bytes = mutator.mutate(text)
                tally.count(String(decoding: bytes, as: UTF8.self)) { FuzzCheck.check(file: bytes) }
            }
        }
        tally.expectGood()
    }

    @Test(arguments: 0..<4)
    func `annotations of every mesh`(_ share: UInt64) {
        var annotations = RandomAnnotations(SeededGenerator(seed: Self.seed &- 1 &- share))
        var tally = Tally()
        for _ in 0..<10_000 {
            let (texts, level, preset) = annotations.next()
            tally.count("\(texts)") {
                FuzzCheck.check(annotations: texts, level: level, preset: preset)
            }
        }
        tally.expectGood()
    }

    @Test func `a violation would be seen`() {
        let nonsense = PolicyFile.render(Policy()).replacing("swerve", with: "swerv")
        #expect(FuzzCheck.check(file: Array(nonsense.utf8)) == .refused)
        #expect(FuzzCheck.check(file: Array(PolicyFile.render(Policy()).utf8)) == .accepted)
        var tally = Tally()
        tally.count("input") { .violated("it") }
        #expect(tally.violations == ["it\nin:\ninput"])
    }
}
