// SPDX-License-Identifier: Apache-2.0

import Equivalence
import Foundation
import LinuxKernel
import TestedMechanisms

/// How much is proven; scripts/prove sets it for long runs.
struct ProofSettings {
    let policies: Int
    let seed: UInt64
    /// How many pods a mechanism has at a time.
    ///
    /// Applying a plan is mostly waiting for the kernel.
    let lanes: Int

    /// Enough for the slowest mechanism on a slow machine.
    var minutes: Int { 5 + policies / 100 }

    static let current = ProofSettings(
        policies: number("SWERVE_PROVE_POLICIES") ?? 300,
        seed: number("SWERVE_PROVE_SEED") ?? 1, lanes: number("SWERVE_PROVE_LANES") ?? 2)

    /// All, or those that are asked for.
    static var mechanisms: [ProvenMechanism] {
        let wish = ProcessInfo.processInfo.environment["SWERVE_PROVE_MECHANISM"]
        let names = wish?.split(separator: ",").map { String($0) }
        return ProvenMechanism.allCases.filter { names?.contains("\($0)") ?? true }
    }

    private static func number<Number: FixedWidthInteger>(_ name: String) -> Number? {
        ProcessInfo.processInfo.environment[name].flatMap { Number($0) }
    }
}

/// What a run says: its end for the test to print, its progress for whoever waits.
struct ProofLog: Sendable {
    private let name: String
    private let report: String
    private let begin = ContinuousClock.now

    init(_ name: String, _ report: String) throws {
        self.name = name
        self.report = report
        try "\(name): ended early\n".write(
            toFile: report, atomically: false, encoding: .utf8)
    }

    /// Notes how far the run is, every so often.
    var progress: @Sendable (Tally) -> Void {
        let log = ProcessInfo.processInfo.environment["SWERVE_PROVE_LOG"]
        return { tally in
            guard let log, tally.tried.isMultiple(of: 250) else { return }
            let line = "\(name): \(tally.tried) tried, \(tally.policies) agreed\n"
            try? OwnedDescriptor.open(log, .append).write(line)
        }
    }

    func conclude(_ tally: Tally, _ found: Disagreement?) throws {
        let duration = ContinuousClock.now - begin
        let each = duration / max(tally.tried, 1) / .milliseconds(1)
        let text = """
            \(name): \(tally)
              took      \(duration), \(each) ms a policy
            \(found.map { "\($0)\n" } ?? "")
            """
        try text.write(toFile: report, atomically: false, encoding: .utf8)
    }
}
