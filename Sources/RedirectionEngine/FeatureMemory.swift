// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// What has been found out about the kernel: it does not change while we run.
///
/// Only conclusive answers are kept. What was not conclusive may have been a signal or a shortage of
/// memory, so it is asked again, a few times at once and at every later occasion.
package final class FeatureMemory: Sendable {
    /// What this process knows.
    package static let process = FeatureMemory()

    private static let attempts = 3
    private let known = Mutex<[Feature: ProbeAnswer]>([:])

    package init() {}

    func answer(to probe: FeatureProbe) -> ProbeAnswer {
        if let answer = known.withLock({ $0[probe.feature] }) { return answer }
        var answer = probe.ask()
        for _ in 1..<Self.attempts where !answer.isConclusive { answer = probe.ask() }
        if answer.isConclusive { known.withLock { $0[probe.feature] = answer } }
        return answer
    }
}

extension Assessment {
    /// Asks for each feature in order, but not for what `ceiling` hides, or what is pointless without
    /// another that is not there.
    package init(
        _ mechanism: Mechanism, asking probes: [FeatureProbe], below ceiling: FeatureCeiling,
        remembering memory: FeatureMemory
    ) {
        var reports: [FeatureReport] = []
        for probe in probes {
            let feature = probe.feature
            let lacking = reports.first {
                feature.prerequisites.contains($0.feature.name) && $0.answer != .yes
            }
            let answer =
                if let lacking {
                    ProbeAnswer.unknown("not asked without \(lacking.feature.name)")
                } else {
                    ceiling.answer(since: feature.since) { memory.answer(to: probe) }
                }
            reports.append(FeatureReport(feature, answer))
        }
        self.init(mechanism, reports)
    }
}
