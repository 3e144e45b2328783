// SPDX-License-Identifier: Apache-2.0

/// A difference between what a mechanism should have in the kernel and what is there.
package struct Drift: Hashable, Sendable, Codable {
    package enum Kind: String, Hashable, Sendable, Codable {
        /// Something of ours is gone.
        case missing
        /// Something of ours is not as we left it; other rules, or the same in another order.
        case changed
        /// Ours is whole, and something of others decides before it.
        case preempted
    }

    package let kind: Kind
    package let part: KernelPart
    /// What, where, for people: `rule 3 of chain output is gone: …`.
    package let detail: String

    package init(_ kind: Kind, _ part: KernelPart, _ detail: String) {
        self.kind = kind
        self.part = part
        self.detail = detail
    }
}

extension Drift: CustomStringConvertible {
    package var description: String { "\(part) \(kind.rawValue): \(detail)" }
}

/// The kinds of things that the mechanisms leave in the kernel.
package enum KernelPart: String, Hashable, Sendable, Codable, CaseIterable {
    /// A table, chain or rule of a packet filter.
    case rules
    /// Routing rules, routes and the sysctl of transparent inbound.
    case routing
    /// The clsact queueing discipline of an interface.
    case qdisc
    /// A BPF program, attached: by a link, to a cgroup, as a filter of tc.
    case program
    /// Entries of BPF maps.
    case entries
    /// Files in bpffs.
    case pin
}

extension KernelPart: CustomStringConvertible {
    package var description: String { rawValue }
}
