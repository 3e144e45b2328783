// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel

/// What a probe found out by doing.
package enum ProbeAnswer: Hashable, Sendable, Codable {
    case yes
    /// Conclusive: the kernel said that it has no such thing.
    case no(String)
    /// The probe failed for another reason (a missing privilege, memory); ask again.
    case unknown(String)

    /// What a refusal means: only an errno that says "no such thing" is a no.
    package init(_ error: KernelError) {
        self = error.saysMissing ? .no("\(error)") : .unknown("\(error)")
    }

    /// What a trial says.
    package init(trying trial: () throws(KernelError) -> Void) {
        do throws(KernelError) {
            try trial()
            self = .yes
        } catch {
            self.init(error)
        }
    }

    package var isConclusive: Bool {
        switch self {
        case .yes, .no: true
        case .unknown: false
        }
    }
}

/// One thing a mechanism uses, and whether this kernel has it.
package struct FeatureReport: Hashable, Sendable, Codable {
    package let feature: Feature
    package let answer: ProbeAnswer

    package init(_ feature: Feature, _ answer: ProbeAnswer) {
        self.feature = feature
        self.answer = answer
    }
}

extension FeatureReport: CustomStringConvertible {
    package var description: String {
        switch answer {
        case .yes: feature.name
        case .no(let reason): "no \(feature.name) (\(reason); since Linux \(feature.since))"
        case .unknown(let reason): "\(feature.name) unknown (\(reason))"
        }
    }
}

/// A mechanism and what this kernel has of it.
package struct Assessment: Hashable, Sendable, Codable {
    package let mechanism: Mechanism
    package let features: [FeatureReport]

    package init(_ mechanism: Mechanism, _ features: [FeatureReport]) {
        self.mechanism = mechanism
        self.features = features
    }

    /// The required features that are not known to be there; of those that hang on each other, the
    /// first.
    package var missing: [FeatureReport] {
        let missing = features.filter { $0.feature.isRequired && $0.answer != .yes }
        let names = Set(missing.map(\.feature.name))
        return missing.filter { names.isDisjoint(with: $0.feature.prerequisites) }
    }
}

/// A kernel's release, as uname(2) tells it.
package struct KernelVersion: Hashable, Sendable, Comparable {
    package let major: Int
    package let minor: Int

    package init(_ major: Int, _ minor: Int) {
        self.major = major
        self.minor = minor
    }

    /// Reads `6.18.44-whatever`.
    package init?(release: String) {
        let parts = release.split(whereSeparator: { !$0.isNumber })
        guard parts.count >= 2, let major = Int(parts[0]), let minor = Int(parts[1]) else {
            return nil
        }
        self.init(major, minor)
    }

    package static func < (left: KernelVersion, right: KernelVersion) -> Bool {
        (left.major, left.minor) < (right.major, right.minor)
    }
}

extension KernelVersion: CustomStringConvertible {
    package var description: String { "\(major).\(minor)" }
}
