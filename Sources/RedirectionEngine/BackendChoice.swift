// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// What the operator asked for.
package enum Wish: Hashable, Sendable {
    case automatic
    /// The first of these that can.
    case oneOf([Mechanism])
    case exactly(Mechanism)
}

extension PolicyMode {
    /// What to ask for; `nil` is no redirection.
    package var wish: Wish? {
        switch self {
        case .auto: .automatic
        case .ebpf: .exactly(.ebpf)
        case .iptables: .oneOf([.nft, .legacy])
        case .nft: .exactly(.nft)
        case .legacy: .exactly(.legacy)
        case .none: nil
        }
    }
}

/// A mechanism and the sentence that explains it.
package struct Choice: Hashable, Sendable {
    package let mechanism: Mechanism
    package let reason: String

    package init(mechanism: Mechanism, reason: String) {
        self.mechanism = mechanism
        self.reason = reason
    }
}

/// Why no mechanism could be chosen.
package enum ChoiceError: Error, Hashable {
    /// The one that was asked for cannot run here; it is never replaced by another.
    case unmet(Mechanism, missing: [FeatureReport])
    /// The one that was asked for cannot express the plan.
    case refused(Mechanism, because: String)
    /// None can; why not, by mechanism.
    case nothingFits([String])
}

extension ChoiceError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unmet(let mechanism, let missing):
            "\(mechanism) was asked for and cannot run here: " + Self.list(missing)
        case .refused(let mechanism, let reason):
            "\(mechanism) was asked for and cannot do this: \(reason)"
        case .nothingFits(let obstacles):
            "no mechanism can run here: " + obstacles.joined(separator: "; ")
        }
    }

    static func list(_ missing: [FeatureReport]) -> String {
        missing.map { report in
            switch report.answer {
            case .yes: report.feature
            case .no(let reason): "no \(report.feature) (\(reason); since Linux \(report.since))"
            case .unknown(let reason): "\(report.feature) unknown (\(reason))"
            }
        }.joined(separator: ", ")
    }
}

/// The first kernel on which `automatic` tries eBPF, whatever the probes say.
private let oldestAutomaticEBPF = KernelVersion(5, 4)

/// Chooses a mechanism from what the operator wants, the kernel has and the plan needs.
///
/// `assessments` come in order of preference; `refusal` tells what of the plan a mechanism cannot
/// express. An explicit wish is never overridden: running something else than configured would be
/// a security decision made by a fallback.
package func choose(
    _ wish: Wish, among assessments: [Assessment], on version: KernelVersion,
    refusal: (Mechanism) -> String? = { _ in nil }
) throws(ChoiceError) -> Choice {
    let candidates: [Mechanism]
    switch wish {
    case .exactly(let mechanism):
        let assessment = assessments.first { $0.mechanism == mechanism }
        guard let assessment, assessment.missing.isEmpty else {
            throw .unmet(mechanism, missing: assessment?.missing ?? [])
        }
        if let reason = refusal(mechanism) { throw .refused(mechanism, because: reason) }
        return Choice(mechanism: mechanism, reason: "asked for")
    case .oneOf(let mechanisms): candidates = mechanisms
    case .automatic: candidates = assessments.map(\.mechanism)
    }
    var passedOver: [String] = []
    for assessment in assessments where candidates.contains(assessment.mechanism) {
        let obstacle = obstacle(to: assessment, on: version) ?? refusal(assessment.mechanism)
        guard let obstacle else {
            let reason = passedOver.isEmpty ? "preferred, and everything it needs is here" : ""
            return Choice(
                mechanism: assessment.mechanism,
                reason: reason + passedOver.joined(separator: "; "))
        }
        passedOver.append("\(assessment.mechanism): \(obstacle)")
    }
    throw .nothingFits(passedOver)
}

/// Why `automatic` does not take the mechanism, or `nil`.
private func obstacle(to assessment: Assessment, on version: KernelVersion) -> String? {
    if assessment.mechanism == .ebpf, version < oldestAutomaticEBPF {
        return "kernel \(version) is older than \(oldestAutomaticEBPF)"
    }
    return assessment.missing.isEmpty ? nil : ChoiceError.list(assessment.missing)
}
