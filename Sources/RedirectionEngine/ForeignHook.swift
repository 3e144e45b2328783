// SPDX-License-Identifier: Apache-2.0

/// Something of somebody else's that acts where a mechanism of ours would.
package struct ForeignHook: Hashable, Sendable, Codable {
    package enum Kind: String, Hashable, Sendable, Codable {
        /// A BPF program on a cgroup.
        case program
        /// A base chain of nf_tables with rules in it, or ahead of some.
        case chain
        /// Rules in a built-in chain of a legacy table.
        case rules
        /// There may be something: looking failed.
        case unseen
    }

    package let kind: Kind
    /// What it is, by name: `program cil_sock4_connect (id 17)`.
    package let name: String
    /// Where it is: a cgroup and a hook, a table.
    package let place: String
    /// What that means, in a sentence.
    package let effect: String
    /// The mechanisms before which it acts, so that it may decide what they would have.
    package let precedes: Set<Mechanism>
    /// The mechanisms that cannot be used, as long as it is there.
    package let blocks: Set<Mechanism>

    package init(
        _ kind: Kind, _ name: String, in place: String, effect: String,
        precedes: Set<Mechanism> = [], blocks: Set<Mechanism> = []
    ) {
        self.kind = kind
        self.name = name
        self.place = place
        self.effect = effect
        self.precedes = precedes
        self.blocks = blocks
    }

    /// What could not be looked at.
    package static func unseen(_ place: String, because reason: String) -> ForeignHook {
        ForeignHook(.unseen, "not known", in: place, effect: reason)
    }
}

extension ForeignHook: CustomStringConvertible {
    package var description: String { "\(name) in \(place): \(effect)" }
}

extension [ForeignHook] {
    /// Which of the two kinds of rules others in the namespace have chosen, if it is one of them.
    ///
    /// Rules of one kind have an order one can see and keep; between the two kinds it is up to numbers
    /// and to who came first.
    package var usedRules: Mechanism? {
        let kinds = Set(map(\.kind))
        return switch (kinds.contains(.rules), kinds.contains(.chain)) {
        case (true, false): .legacy
        case (false, true): .nft
        default: nil
        }
    }
}
