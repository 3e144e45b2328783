// SPDX-License-Identifier: Apache-2.0

/// What a probe found out by doing.
package enum ProbeAnswer: Hashable, Sendable {
    case yes
    /// Conclusive: the kernel said that it has no such thing.
    case no(String)
    /// The probe failed for another reason (a missing privilege, memory); ask again.
    case unknown(String)
}

/// One thing a mechanism uses, and whether this kernel has it.
package struct FeatureReport: Hashable, Sendable {
    package let feature: String
    /// The first kernel that has it, as documented: "5.9".
    package let since: String
    /// What uses it.
    package let use: String
    /// Whether the mechanism cannot work without it.
    package let isRequired: Bool
    package let answer: ProbeAnswer

    package init(
        _ feature: String, since: String, use: String, isRequired: Bool = true,
        answer: ProbeAnswer
    ) {
        self.feature = feature
        self.since = since
        self.use = use
        self.isRequired = isRequired
        self.answer = answer
    }
}

/// A mechanism and what this kernel has of it.
package struct Assessment: Hashable, Sendable {
    package let mechanism: Mechanism
    package let features: [FeatureReport]

    package init(_ mechanism: Mechanism, _ features: [FeatureReport]) {
        self.mechanism = mechanism
        self.features = features
    }

    /// The required features that are not known to be there.
    package var missing: [FeatureReport] {
        features.filter { $0.isRequired && $0.answer != .yes }
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
