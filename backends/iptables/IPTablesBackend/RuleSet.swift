// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// A plan as rules: what both writers install, before either writer's syntax.
package struct RuleSet: Hashable, Sendable {
    /// Which plan this is; kept in the kernel beside the rules.
    package var fingerprint: PlanFingerprint
    /// Where the kernel hands traffic to the chains.
    package var hooks: [Hook]
    package var chains: [Chain]

    package init(fingerprint: PlanFingerprint, hooks: [Hook] = [], chains: [Chain] = []) {
        self.fingerprint = fingerprint
        self.hooks = hooks
        self.chains = chains
    }

    package func chain(_ name: Chain.Name) -> Chain? { chains.first { $0.name == name } }
}

/// Where the kernel consults the rules, and the one rule that stands there.
///
/// A packet the rule does not match, anything that is not TCP, meets nothing else of ours.
package struct Hook: Hashable, Sendable {
    package var point: Point
    package var rule: Rule

    package init(_ point: Point, _ rule: Rule) {
        self.point = point
        self.rule = rule
    }

    package enum Point: String, Hashable, Sendable, CaseIterable {
        /// nat, locally made connections: decides where they go.
        case natOutput
        /// nat, arriving connections.
        case natPrerouting
        /// filter, for what must not leave.
        case filterOutput
        /// filter, for what must not arrive.
        case filterInput

        package var direction: Direction {
            self == .natOutput || self == .filterOutput ? .outbound : .inbound
        }
    }
}

/// A list of rules that hooks and other chains lead to.
package struct Chain: Hashable, Sendable {
    package var name: Name
    package var rules: [Rule]

    package init(_ name: Name, _ rules: [Rule]) {
        self.name = name
        self.rules = rules
    }

    /// The names of all chains there can be, unique over both tables.
    package enum Name: String, Hashable, Sendable, CaseIterable {
        case outbound
        /// What the sidecar itself sends.
        case sidecar
        /// What has passed one of two include lists that must both match.
        case outboundIncluded = "outbound_included"
        case inbound
        case inboundIncluded = "inbound_included"
        case outboundDrop = "outbound_drop"
        case inboundDrop = "inbound_drop"

        /// True for the chains of the filter table, which drop and do not redirect.
        package var drops: Bool { self == .outboundDrop || self == .inboundDrop }
    }
}

/// One step: which flows of which families, and what becomes of them.
package struct Rule: Hashable, Sendable {
    package var families: Set<AddressFamily>
    /// At most one thing, for conjunctions are chains: legacy rules know no sets, and a rule
    /// over two of them would grow with their product.
    package var match: Match?
    package var action: Action

    package init(_ families: Set<AddressFamily>, _ match: Match? = nil, _ action: Action) {
        self.families = families
        self.match = match
        self.action = action
    }

    package enum Match: Hashable, Sendable {
        case tcp
        /// The first segment of a TCP connection: SYN without ACK.
        case newTCP
        case inInterfaces(Set<InterfacePattern>)
        case outInterfaces(Set<InterfacePattern>)
        /// Who created the socket.
        case uids(IDSet)
        case gids(IDSet)
        case sources(AddressRanges)
        case destinations(AddressRanges)
        case destinationPorts(PortSet)
    }

    package enum Action: Hashable, Sendable {
        /// The flow's verdict, and the reason it is counted under.
        ///
        /// To pass is to return to whatever called us, never to accept: the rules of others
        /// see the flow as if ours were not there.
        case decide(Verdict)
        /// Continue there; what falls off its end comes back here.
        case jump(Chain.Name)
        /// Continue there and do not come back.
        case goto(Chain.Name)
    }

    /// What the rule's comment says: its reason, or where it leads.
    package var comment: String {
        switch action {
        case .decide(let verdict): "\(verdict.reason)"
        case .jump(let chain), .goto(let chain): "to \(chain.rawValue)"
        }
    }
}
