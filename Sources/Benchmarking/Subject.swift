// SPDX-License-Identifier: Apache-2.0

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
    }

    package let name: String
    package let way: Way
    /// Whether inbound connections keep their destination (TPROXY).
    package var isTransparent = false
    /// How many elements each of the plan's lists has, none of them matching.
    package var listLength = 0
    /// How many pods the mechanism has in its charge, the measured one included.
    package var podCount = 1
    /// Whether the measured pod is one of them.
    package var isManaged = true

    package init(_ name: String, _ way: Way) {
        self.name = name
        self.way = way
    }

    /// Those of the side by side, in the order of a table.
    package static let all: [Subject] = {
        var tproxy = Subject("tproxy", .redirected(.nft, .preferred))
        tproxy.isTransparent = true
        return [
            Subject("direct", .direct), Subject("manual", .manual),
            Subject("legacy", .redirected(.legacy, .preferred)),
            Subject("nft", .redirected(.nft, .preferred)), tproxy,
            Subject("ebpf", .redirected(.ebpf, .socketLookup)),
            Subject("ebpf-tc", .redirected(.ebpf, .trafficControl)),
        ]
    }()

    /// A pod that nobody looks after, on a node where `ebpf` looks after another: to be compared with
    /// `direct`.
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

    /// Whether it differs from others in this direction: outbound, `tproxy` is `nft` and `ebpf-tc`
    /// is `ebpf`.
    package func isDistinct(_ direction: Direction) -> Bool {
        direction == .inbound || !(isTransparent || way == .redirected(.ebpf, .trafficControl))
    }

    /// Whether connections of the measured pod are expected to meet the sidecar by themselves.
    var isRedirected: Bool {
        if case .redirected = way { isManaged } else { false }
    }
}
