// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// A plan as rules: what both writers install, before either writer's syntax.
package struct RuleSet: Hashable, Sendable {
    /// Which plan this is; kept in the kernel beside the rules.
    package var fingerprint: PlanFingerprint
    /// The routing that has to stand beside the rules.
    package var routing: Routing?
    /// Where the kernel hands traffic to the chains, those of one point in their order.
    package var hooks: [Hook]
    package var chains: [Chain]

    package init(
        fingerprint: PlanFingerprint, routing: Routing? = nil, hooks: [Hook] = [],
        chains: [Chain] = []
    ) {
        self.fingerprint = fingerprint
        self.routing = routing
        self.hooks = hooks
        self.chains = chains
    }

    /// Answers to borrowed addresses carry `mark` and are routed by `table`.
    package struct Routing: Hashable, Sendable {
        package let mark: UInt32
        package let table: UInt32
    }

    /// The bit of the tracking mark that says "handed to the sidecar"; the other bits are others'.
    static let rememberedMark: UInt32 = 0x2000_0000

    package func chain(_ name: Chain.Name) -> Chain? { chains.first { $0.name == name } }

    /// The hooks by where they stand, in the order in which a packet comes by.
    var hooksByPoint: [(point: Hook.Point, rules: [Rule])] {
        Hook.Point.allCases.map { point in
            (point, hooks.filter { $0.point == point }.map(\.rule))
        }.filter { !$0.rules.isEmpty }
    }
}

/// Where the kernel consults the rules, and one rule that stands there.
///
/// A packet that no such rule matches meets nothing else of ours.
package struct Hook: Hashable, Sendable {
    package var point: Point
    package var rule: Rule

    package init(_ point: Point, _ rule: Rule) {
        self.point = point
        self.rule = rule
    }

    /// In the order in which a packet comes by, outbound before inbound.
    package enum Point: String, Hashable, Sendable, CaseIterable {
        /// raw, before connection tracking, what is sent here.
        case rawOutput
        /// raw, what arrives.
        case rawPrerouting
        /// mangle, what must not leave; before anybody's NAT has changed where it goes.
        case mangleOutput
        /// mangle, what arrives and is handed to a socket as it is, or must not come in.
        case manglePrerouting
        /// nat, locally made connections: decides where they go.
        case natOutput
        /// nat, arriving connections.
        case natPrerouting
        /// filter, for what must not arrive.
        case filterInput

        package var direction: Direction {
            switch self {
            case .rawOutput, .mangleOutput, .natOutput: .outbound
            case .rawPrerouting, .manglePrerouting, .natPrerouting, .filterInput: .inbound
            }
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

    /// A chain's name, unique over all tables; at most 21 letters (legacy names have 28).
    package struct Name: Hashable, Sendable, RawRepresentable {
        package let rawValue: String

        package init(rawValue: String) { self.rawValue = rawValue }
        package init(_ text: String) { rawValue = text }

        /// The table of verdicts that the chain's rules are of.
        package var direction: Direction { rawValue.hasPrefix("inbound") ? .inbound : .outbound }
    }
}

/// One step: which flows of which families, and what becomes of them.
package struct Rule: Hashable, Sendable {
    package var families: Set<AddressFamily>
    /// The protocol the rule is limited to where its match or action does not say.
    package var transport: TransportProtocol?
    /// At most one thing, for conjunctions are chains: legacy rules know no sets, and a rule
    /// over two of them would grow with their product.
    package var match: Match?
    package var action: Action

    package init(
        _ families: Set<AddressFamily>, _ match: Match? = nil, _ action: Action,
        of transport: TransportProtocol? = nil
    ) {
        self.families = families
        self.transport = transport
        self.match = match
        self.action = action
    }

    package enum Match: Hashable, Sendable {
        /// The first segment of a TCP connection: SYN without ACK.
        ///
        /// To connection tracking, a connection is new that it has not seen yet, and nat tables
        /// would redirect it in the middle: one from before the plan, or that a mechanism began
        /// which tracks nothing.
        case newTCP
        /// The first segment of a TCP connection to one of the ports.
        case newTCPToPorts(PortSet)
        /// A later segment of a TCP connection that was remembered when it was handed over.
        case remembered
        case inInterfaces(Set<InterfacePattern>)
        case outInterfaces(Set<InterfacePattern>)
        /// Who created the socket.
        case uids(IDSet)
        case gids(IDSet)
        case sources(AddressRanges)
        case destinations(AddressRanges)
        case sourcePorts(PortSet)
        case destinationPorts(PortSet)
    }

    package enum Action: Hashable, Sendable {
        /// The flow's verdict, and the reason it is counted under.
        ///
        /// To pass is to return to whatever called us, never to accept: the rules of others
        /// see the flow as if ours were not there.
        case decide(Verdict)
        /// The flow's verdict, a redirection, by handing the packet to the socket that listens
        /// there (TPROXY): it stays as it is.
        ///
        /// The connection is remembered by a bit of its tracking mark.
        case assign(Verdict)
        /// As the first segment, so this one: to its socket, or to the one that listens there.
        case assignLater(port: UInt16)
        /// Track the packet's connection apart from those of other zones, and go on.
        case zone(UInt16)
        /// Back to the hook, undecided: its next rule, or another hook, decides.
        case leave
        /// Continue there; what falls off its end comes back here.
        case jump(Chain.Name)
        /// Continue there and do not come back.
        case goto(Chain.Name)
    }

    /// What the rule's comment says: its reason, or where it leads.
    package var comment: String {
        switch action {
        case .decide(let verdict), .assign(let verdict): "\(verdict.reason)"
        case .assignLater: "handed over"
        case .zone(let zone): "zone \(zone)"
        case .leave: "not here"
        case .jump(let chain), .goto(let chain): "to \(chain.rawValue)"
        }
    }

    /// The protocol whose packets alone can match, `nil` for any.
    package var carrier: TransportProtocol? {
        switch (transport, match, action) {
        case (let transport?, _, _): transport
        case (_, .newTCP, _), (_, .newTCPToPorts, _), (_, .remembered, _): .tcp
        case (_, .destinationPorts, _), (_, .sourcePorts, _): .tcp
        case (_, _, .assign), (_, _, .assignLater): .tcp
        case (_, _, .decide(let verdict)):
            verdict.action == .pass || verdict.action == .drop ? nil : .tcp
        default: nil
        }
    }
}
