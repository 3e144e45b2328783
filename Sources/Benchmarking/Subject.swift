// SPDX-License-Identifier: Apache-2.0

internal import Backends
package import EBPFBackend
package import RedirectionEngine
package import RedirectionModel

/// What is compared: a way for a pod's connections to get to its sidecar, or past it.
package struct Subject: Hashable, Sendable {
    package enum Way: Hashable, Sendable {
        /// There is no sidecar: what a connection costs by itself.
        case direct
        /// The client dials the sidecar: what any redirection costs at least.
        case manual
        case redirected(Mechanism, InboundMethod)
        /// By the rules that a mesh publishes for its preset, written as iptables(8) does for
        /// nf_tables or for ip_tables.
        case published(PublishedRules, Mechanism)
    }

    package let name: String
    package let way: Way
    /// Whether inbound connections keep their destination (TPROXY).
    package var isTransparent = false
    /// How many elements each of the plan's lists has, none of them matching.
    package var listLength = 0
    /// How many pods the mechanism has in its charge, the measured one included.
    package var podCount = 1
    /// The name of one that is the same outbound.
    package var outboundTwin: String?
    /// Whether the measured pod is one of them.
    package var isManaged = true
    package var preset = Preset.Name.fsm
    package var capturesLookups = true
    package var families = AddressFamily.allCases

    package init(_ name: String, _ way: Way) {
        self.name = name
        self.way = way
    }

    /// Those of the side by side, in the order of a table.
    package static let all: [Subject] = {
        var tproxy = Subject("tproxy", .redirected(.nft, .preferred))
        tproxy.isTransparent = true
        tproxy.outboundTwin = "nft"
        var ebpfTC = Subject("ebpf-tc", .redirected(.ebpf, .trafficControl))
        ebpfTC.outboundTwin = "ebpf"
        return [
            Subject("direct", .direct), Subject("manual", .manual),
            Subject("legacy", .redirected(.legacy, .preferred)),
            Subject("nft", .redirected(.nft, .preferred)), tproxy,
            Subject("ebpf", .redirected(.ebpf, .socketLookup)), ebpfTC,
        ]
    }()

    /// A pod that nobody redirects, in a cgroup where `ebpf` redirects another: to be compared with
    /// `direct`, which is outside, on the same kernel.
    package static let unmanaged: Subject = {
        var subject = Subject("unmanaged", .redirected(.ebpf, .preferred))
        subject.podCount = 2
        subject.isManaged = false
        return subject
    }()

    /// By its name.
    package static func named(_ name: String) -> Subject? {
        (all + [unmanaged]).first { $0.name == name }
    }

    /// Whether it differs from the others in this direction: outbound, `tproxy` is `nft` and
    /// `ebpf-tc` is `ebpf`, where these are there.
    package func isDistinct(_ direction: Direction, among subjects: [Subject]) -> Bool {
        direction == .inbound || !subjects.contains { $0.name == outboundTwin }
    }

    /// Whether connections of the measured pod are expected to meet the sidecar by themselves.
    var isRedirected: Bool {
        switch way {
        case .direct, .manual: false
        case .redirected: isManaged
        case .published: true
        }
    }
}

/// A subject that this kernel does not have.
package struct SkippedSubject: Codable, Hashable, Sendable, CustomStringConvertible {
    package let subject: String
    package let reason: String

    package var description: String { "\(subject) is not measured: \(reason)" }

    /// Those of `subjects` that this kernel does not have.
    static func among(_ subjects: [Subject]) -> [SkippedSubject] {
        let assessments = Backends.assess()
        return among(subjects, hasSocketLookup: InboundMethod.preferred == .socketLookup) {
            mechanism in
            let missing = assessments.first { $0.mechanism == mechanism }?.missing ?? []
            return missing.isEmpty ? nil : missing.map(\.description).joined(separator: ", ")
        }
    }

    /// The same, by what `lack` says is missing for a mechanism.
    static func among(
        _ subjects: [Subject], hasSocketLookup: Bool, lack: (Mechanism) -> String?
    ) -> [SkippedSubject] {
        subjects.compactMap { subject in
            guard case .redirected(let mechanism, let inbound) = subject.way else {
                return nil
            }
            if let reason = lack(mechanism) {
                return SkippedSubject(subject: subject.name, reason: reason)
            }
            // It would be done by tc, and told of as something else.
            guard mechanism == .ebpf, inbound == .socketLookup, !hasSocketLookup
            else { return nil }
            return SkippedSubject(
                subject: subject.name, reason: "this kernel has no inbound by socket lookup")
        }
    }
}
