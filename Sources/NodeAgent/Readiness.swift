// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import RedirectionEngine

/// Whether pods can be added: the node has been looked through, and some mechanism can run here.
actor Readiness {
    private let probe: @Sendable () -> [Assessment]
    private var assessments: [Assessment]?
    private var unrecovered: [Workload.ID] = []
    /// Whether every workload that was there has been looked at, with whatever success.
    private(set) var hasRecovered = false

    init(_ probe: @escaping @Sendable () -> [Assessment]) { self.probe = probe }

    /// Takes note of a look at all workloads: what failed, and whether it is known which there are.
    func note(_ failures: [Workload.ID: EngineError], canList: Bool) {
        let wasKeptOut = failures.values.contains {
            if case .busy = $0 { true } else { false }
        }
        // Who was kept out has seen nothing: what was known before is all that is known.
        guard canList, !wasKeptOut else { return }
        unrecovered = failures.keys.sorted()
        hasRecovered = true
    }

    /// What this kernel has; asked again only while something of it is not known for sure.
    func assess() -> [Assessment] {
        if let assessments { return assessments }
        let found = probe()
        if found.allSatisfy({ $0.features.allSatisfy(\.answer.isConclusive) }) {
            assessments = found
        }
        return found
    }

    var status: StatusAnswer {
        guard hasRecovered else {
            return StatusAnswer(ready: false, reason: "the workloads are being looked through")
        }
        let assessments = assess()
        guard assessments.contains(where: \.missing.isEmpty) else {
            let reasons = assessments.map { assessment in
                "\(assessment.mechanism): "
                    + assessment.missing.map { "\($0)" }.joined(separator: ", ")
            }
            return StatusAnswer(
                ready: false, limited: !unrecovered.isEmpty,
                reason: "no mechanism can run here: " + reasons.joined(separator: "; "))
        }
        return StatusAnswer(
            ready: true, limited: !unrecovered.isEmpty,
            reason: unrecovered.isEmpty
                ? "" : "not recovered: " + unrecovered.joined(separator: ", "))
    }
}
