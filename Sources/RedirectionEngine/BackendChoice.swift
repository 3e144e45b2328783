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

/// A mechanism, why it is that one, and what was found on the way; kept with what it is for.
package struct Choice: Hashable, Sendable, Codable {
    package let mechanism: Mechanism
    /// A sentence for people.
    package let reason: String
    /// The mechanisms that come before it in preference, in that order.
    package let passedOver: [PassedOver]
    /// What of others' acts at our hooks, and does not prevent this.
    package let others: [ForeignHook]
    /// Which of its ways the mechanism goes here, in words; `nil` where it has one alone.
    package var manner: String?

    package init(
        mechanism: Mechanism, reason: String, passedOver: [PassedOver] = [],
        others: [ForeignHook] = []
    ) {
        self.mechanism = mechanism
        self.reason = reason
        self.passedOver = passedOver
        self.others = others
    }
}

/// A mechanism that was not taken.
package struct PassedOver: Hashable, Sendable, Codable {
    /// Why not, as far as programs need to tell: a label of a metric.
    package enum Cause: String, Hashable, Sendable, Codable {
        /// The kernel is older than the mission allows.
        case version
        /// The kernel lacks something.
        case kernel
        /// We may not ask, or asking failed.
        case unknown
        /// The mechanism cannot express the plan.
        case plan
        /// Something of others stands in the way.
        case others
        /// Others in the namespace have chosen the other kind of rules.
        case mixture
    }

    package let mechanism: Mechanism
    package let cause: Cause
    package let detail: String

    package init(_ mechanism: Mechanism, _ cause: Cause, _ detail: String) {
        self.mechanism = mechanism
        self.cause = cause
        self.detail = detail
    }
}

extension PassedOver: CustomStringConvertible {
    package var description: String { "\(mechanism): \(detail)" }
}

/// Why no mechanism could be chosen.
package enum ChoiceError: Error, Hashable {
    /// The one that was asked for cannot run here; it is never replaced by another.
    case unmet(Mechanism, missing: [FeatureReport])
    /// The kernel is older than the first that the one that was asked for is taken on.
    case tooOld(Mechanism, KernelVersion, first: KernelVersion)
    /// The one that was asked for cannot express the plan.
    case refused(Mechanism, because: String)
    /// Something of others keeps the one that was asked for from working.
    case blocked(Mechanism, by: ForeignHook)
    /// None can; why not, by mechanism.
    case nothingFits([PassedOver])
}

extension ChoiceError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unmet(let mechanism, let missing):
            "\(mechanism) was asked for and cannot run here: " + Self.list(missing)
        case .tooOld(let mechanism, let version, let first):
            "\(mechanism) was asked for and cannot run here: "
                + "kernel \(version) is older than \(first); "
                + "ask for auto, nft or legacy, or boot Linux \(first) or newer"
        case .refused(let mechanism, let reason):
            "\(mechanism) was asked for and cannot do this: \(reason)"
        case .blocked(let mechanism, let hook):
            "\(mechanism) was asked for and cannot run here: \(hook)"
        case .nothingFits(let obstacles):
            "no mechanism can run here: " + Self.list(obstacles, "; ")
        }
    }

    static func list(_ parts: [some CustomStringConvertible], _ separator: String = ", ") -> String
    {
        parts.map(\.description).joined(separator: separator)
    }
}

/// The first kernel on which eBPF is taken, whatever the probes say.
private let oldestForEBPF = KernelVersion(5, 4)

/// Chooses a mechanism from what the operator wants, the kernel has, the plan needs, and others do.
///
/// `assessments` come in order of preference; `refusal` tells what of the plan a mechanism cannot
/// express. An explicit wish is never overridden: running something else than configured would be
/// a security decision made by a fallback.
package func choose(
    _ wish: Wish, among assessments: [Assessment], on version: KernelVersion,
    beside others: [ForeignHook] = [],
    refusal: @escaping (Mechanism) -> String? = { _ in nil }
) throws(ChoiceError) -> Choice {
    let candidates: [Assessment]
    switch wish {
    case .exactly(let mechanism):
        let assessment = assessments.first { $0.mechanism == mechanism }
        guard let assessment, assessment.missing.isEmpty else {
            throw .unmet(mechanism, missing: assessment?.missing ?? [])
        }
        if mechanism == .ebpf, version < oldestForEBPF {
            throw .tooOld(mechanism, version, first: oldestForEBPF)
        }
        if let hook = others.blocker(of: mechanism) { throw .blocked(mechanism, by: hook) }
        if let reason = refusal(mechanism) { throw .refused(mechanism, because: reason) }
        return Choice(
            mechanism: mechanism, reason: "asked for", others: others.preceding(mechanism))
    case .oneOf(let mechanisms):
        candidates = assessments.filter { mechanisms.contains($0.mechanism) }
    case .automatic: candidates = assessments
    }
    return try Candidates(version: version, others: others, refusal: refusal).first(of: candidates)
}

/// What keeps a mechanism from being taken when the choice is ours.
private struct Candidates {
    let version: KernelVersion
    let others: [ForeignHook]
    let refusal: (Mechanism) -> String?

    /// The first that nothing stands in the way of; rules that would mix with others' of the other
    /// kind only when nothing else is left.
    func first(of assessments: [Assessment]) throws(ChoiceError) -> Choice {
        var passedOver: [PassedOver] = []
        var mixed: Mechanism?
        for assessment in assessments {
            let mechanism = assessment.mechanism
            if let obstacle = obstacle(to: assessment) {
                passedOver.append(obstacle)
            } else if let reason = mixture(of: mechanism) {
                passedOver.append(PassedOver(mechanism, .mixture, reason))
                if mixed == nil { mixed = mechanism }
            } else {
                return choice(mechanism, passedOver)
            }
        }
        guard let mixed else { throw .nothingFits(passedOver) }
        return choice(mixed, passedOver.filter { $0.mechanism != mixed })
    }

    private func choice(_ mechanism: Mechanism, _ passedOver: [PassedOver]) -> Choice {
        let reason =
            passedOver.isEmpty
            ? "preferred, and everything it needs is here" : ChoiceError.list(passedOver, "; ")
        return Choice(
            mechanism: mechanism, reason: reason, passedOver: passedOver,
            others: others.preceding(mechanism))
    }

    private func obstacle(to assessment: Assessment) -> PassedOver? {
        let mechanism = assessment.mechanism
        if mechanism == .ebpf, version < oldestForEBPF {
            return PassedOver(
                mechanism, .version, "kernel \(version) is older than \(oldestForEBPF)")
        }
        let missing = assessment.missing
        if !missing.isEmpty {
            let isKnown = missing.contains { $0.answer.isConclusive }
            return PassedOver(mechanism, isKnown ? .kernel : .unknown, ChoiceError.list(missing))
        }
        if let hook = others.blocker(of: mechanism) {
            return PassedOver(mechanism, .others, "\(hook)")
        }
        return refusal(mechanism).map { PassedOver(mechanism, .plan, $0) }
    }

    /// Why this kind of rules would be mixed with another.
    private func mixture(of mechanism: Mechanism) -> String? {
        guard mechanism != .ebpf, let used = others.usedRules, used != mechanism else { return nil }
        return "others here use \(used) rules"
    }
}

extension [ForeignHook] {
    /// What makes the mechanism impossible.
    fileprivate func blocker(of mechanism: Mechanism) -> ForeignHook? {
        first { $0.blocks.contains(mechanism) }
    }

    /// What acts before the mechanism, or may.
    fileprivate func preceding(_ mechanism: Mechanism) -> [ForeignHook] {
        filter { $0.precedes.contains(mechanism) || $0.kind == .unseen }
    }
}
