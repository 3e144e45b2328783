// SPDX-License-Identifier: Apache-2.0

import Equivalence
import EquivalenceRig
import KernelTestSupport
import LinuxKernel
import RedirectionModel
import TestedMechanisms
import Testing

/// Every mechanism does what the model says, shown by live traffic; docs/equivalence.md.
@Suite(.requiresKernel) struct ProofTests {
    @Test(.timeLimit(.minutes(ProofSettings.current.minutes)), arguments: ProofSettings.mechanisms)
    func `live traffic meets the verdicts of the model`(_ mechanism: ProvenMechanism) async throws {
        let file = TemporaryFile()
        await #expect(processExitsWith: .success) { [mechanism, report = file.path as String] in
            let settings = ProofSettings.current
            try await withTestCgroup { cgroup in
                let log = try ProofLog(mechanism.rawValue, report)
                let (tally, found) = try await Prover(seed: settings.seed).prove(
                    settings.policies, lanes: settings.lanes, reporting: log.progress
                ) {
                    KernelSubject(
                        mechanism.rawValue, try await mechanism.make(attachingTo: cgroup),
                        deviations: mechanism.deviations)
                }
                try log.conclude(tally, found)
                #expect(found == nil)
                #expect(found != nil || tally.policies >= settings.policies)
                // A run of this length meets all that the mechanism, in this kernel, can carry out.
                let missing = Set(Reason.allCases.filter { tally.reasons[$0] == nil })
                let isLacking = tally.refusals.keys.contains {
                    $0.hasPrefix(KernelSubject.missing)
                }
                let excused = mechanism.unreachable.union(isLacking ? [.dns] : [])
                #expect(settings.policies < 300 || missing.isSubset(of: excused), "\(missing)")
            }
        }
        print(try readFile(file.path))
    }
}
