// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel
package import XTables

/// What a rule set puts into one legacy table of one family.
package struct LegacyTable: Hashable, Sendable {
    package let name: Name
    package let family: AddressFamily
    /// The rules that stand first in the built-in chains.
    package let jumps: [Jump]
    /// Our own chains, by name.
    package let chains: [String: [XTRule]]

    package enum Name: String, Hashable, Sendable, CaseIterable {
        case raw
        case filter
        case mangle
        case nat

        /// The built-in chains, in the order iptables-save(8) lists them.
        var builtIn: [String] {
            switch self {
            case .raw: ["PREROUTING", "OUTPUT"]
            case .mangle: ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]
            case .nat: ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]
            case .filter: ["INPUT", "FORWARD", "OUTPUT"]
            }
        }
    }

    package struct Jump: Hashable, Sendable {
        package let chain: String
        package let rule: XTRule
    }

    /// What the names of all our chains begin with, and nobody else's.
    static let prefix = "SWERVE_"
    /// No packet goes here: its one rule says which plan the table belongs to.
    static let planChain = prefix + "PLAN"

    /// True when the rules change nothing's way: they only let a family pass, and count it.
    package var isPassive: Bool {
        chains.values.joined().allSatisfy { rule in
            switch rule.target {
            case .return, .jump, .goto: true
            case .drop, .redirect, .assign, .remember, .zone: false
            }
        }
    }
}

extension RuleSet {
    /// The rule set as legacy tables: each family's, in the order of their names.
    package func legacyTables(
        for families: Set<AddressFamily> = Set(AddressFamily.allCases)
    ) -> [LegacyTable] {
        let wanted = AddressFamily.allCases.filter(families.contains).flatMap { family in
            LegacyTable.Name.allCases.map { ($0, family) }
        }.filter { name, family in
            hooks.contains { $0.point.table == name && $0.rule.families.contains(family) }
        }
        return wanted.map { name, family in
            legacyTable(name, family, of: wanted.count)
        }
    }

    /// One family's tables as iptables-save(8) prints them in a namespace that holds nothing else.
    package func legacyText(_ family: AddressFamily) -> String {
        legacyTables().filter { $0.family == family }.map { "\($0)" }.joined()
    }

    private func legacyTable(
        _ name: LegacyTable.Name, _ family: AddressFamily, of count: Int
    ) -> LegacyTable {
        let plan = XTRule(plan: planComment, of: count)
        var contents = [LegacyTable.planChain: [plan]]
        let hooks = hooks.filter { $0.point.table == name && $0.rule.families.contains(family) }
        for chain in reachable(from: hooks.map(\.rule), family) {
            contents[chain.name.legacy] = chain.rules.flatMap { $0.legacyRules(family) }
        }
        let jumps = hooks.flatMap { hook in
            hook.rule.legacyRules(family).map {
                LegacyTable.Jump(chain: hook.point.builtInChain, rule: $0)
            }
        }
        return LegacyTable(name: name, family: family, jumps: jumps, chains: contents)
    }

    /// The chains that rules of the family lead to, by however many steps.
    private func reachable(from rules: [Rule], _ family: AddressFamily) -> [Chain] {
        var names: Set<Chain.Name> = []
        var rest = rules
        while let rule = rest.popLast() {
            guard rule.families.contains(family), let name = rule.action.next,
                names.insert(name).inserted
            else { continue }
            rest += chain(name)?.rules ?? []
        }
        return chains.filter { names.contains($0.name) }
    }
}

extension Hook.Point {
    var table: LegacyTable.Name {
        switch self {
        case .rawOutput, .rawPrerouting: .raw
        case .mangleOutput, .manglePrerouting: .mangle
        case .natOutput, .natPrerouting: .nat
        case .filterInput: .filter
        }
    }

    var builtInChain: String {
        switch self {
        case .rawOutput, .mangleOutput, .natOutput: "OUTPUT"
        case .rawPrerouting, .manglePrerouting, .natPrerouting: "PREROUTING"
        case .filterInput: "INPUT"
        }
    }
}

extension Chain.Name {
    var legacy: String { LegacyTable.prefix + rawValue.uppercased() }

    /// Reads the name of a legacy chain; `nil` for one that is not ours.
    init?(legacy name: String) {
        guard name.hasPrefix(LegacyTable.prefix) else { return nil }
        self.init(name.dropFirst(LegacyTable.prefix.count).lowercased())
    }
}

extension RuleSet {
    /// Says which plan it is, and what must stand beside it.
    var planComment: String {
        let routing = routing.map { " routing \($0.mark) by \($0.table)" } ?? ""
        return "plan \(fingerprint)\(routing)"
    }
}

extension XTRule {
    /// The rule that says which plan a table belongs to, and how many tables make up the plan.
    ///
    /// Tables are committed one by one; the number tells a plan from a part of one.
    init(plan: String, of tables: Int) {
        self.init(.return)
        comment = "\(plan) in \(tables)"
    }
}

extension Rule {
    /// The rule in `family`: a legacy rule for each element of its match, none for another family.
    ///
    /// The elements are disjoint, so a packet is counted once however many there are.
    func legacyRules(_ family: AddressFamily) -> [XTRule] {
        let rules = legacyRules(family, action.legacyTarget, comment)
        guard case .assign = action else { return rules }
        return legacyRules(family, .remember(RuleSet.rememberedMark), "remember") + rules
    }

    private func legacyRules(
        _ family: AddressFamily, _ target: XTRule.Target, _ comment: String
    ) -> [XTRule] {
        guard families.contains(family) else { return [] }
        var base = XTRule(target)
        base.comment = comment
        base.transport = carrier.map(XTRule.Transport.init)
        func each<Elements: Sequence>(
            _ elements: Elements, _ set: (inout XTRule, Elements.Element) -> Void
        ) -> [XTRule] {
            elements.map { element in
                var rule = base
                set(&rule, element)
                return rule
            }
        }
        switch match {
        case nil: return [base]
        case .newTCP: return each([XTRule.Segment.first]) { $0.segment = $1 }
        case .newTCPToPorts(let ports):
            return each(ports.ranges) { rule, range in
                rule.segment = .first
                rule.destinationPorts = range
            }
        case .remembered:
            return each([XTRule.Segment.later]) { rule, segment in
                rule.segment = segment
                rule.connectionMark = RuleSet.rememberedMark
            }
        case .inInterfaces(let names): return each(names.sorted()) { $0.inInterface = $1 }
        case .outInterfaces(let names): return each(names.sorted()) { $0.outInterface = $1 }
        case .uids(let ids): return each(ids.ranges) { $0.owner = .uids($1) }
        case .gids(let ids): return each(ids.ranges) { $0.owner = .gids($1) }
        case .sources(let addresses): return each(addresses.networks) { $0.source = $1 }
        case .destinations(let addresses): return each(addresses.networks) { $0.destination = $1 }
        case .sourcePorts(let ports): return each(ports.ranges) { $0.sourcePorts = $1 }
        case .destinationPorts(let ports): return each(ports.ranges) { $0.destinationPorts = $1 }
        }
    }

    /// The rule as iptables-save(8) prints it, a line for each there is of it; `chain` is ours.
    package func legacyLines(_ family: AddressFamily, in chain: Chain.Name) -> [String] {
        legacyRules(family).map { "-A \(chain.legacy) \($0.description(family))" }
    }
}

extension XTRule.Transport {
    fileprivate init(_ transport: TransportProtocol) {
        switch transport {
        case .tcp: self = .tcp
        case .udp: self = .udp
        }
    }
}

extension Rule.Action {
    /// The chain it leads to.
    var next: Chain.Name? {
        switch self {
        case .jump(let chain), .goto(let chain): chain
        case .decide, .assign, .assignLater, .zone, .leave: nil
        }
    }

    fileprivate var legacyTarget: XTRule.Target {
        switch self {
        case .jump(let chain): .jump(chain.legacy)
        case .goto(let chain): .goto(chain.legacy)
        case .leave: .return
        case .zone(let zone): .zone(zone)
        case .assignLater(let port): .assign(port: port)
        case .assign(let verdict): verdict.action.port.map { .assign(port: $0) } ?? .return
        case .decide(let verdict):
            if let port = verdict.action.port {
                .redirect(port: port)
            } else {
                verdict.action == .drop ? .drop : .return
            }
        }
    }
}

extension LegacyTable: CustomStringConvertible {
    /// The table as iptables-save(8) prints it in a namespace that holds nothing else.
    package var description: String {
        let names = chains.keys.sorted()
        let declared =
            name.builtIn.map { ":\($0) ACCEPT [0:0]" } + names.map { ":\($0) - [0:0]" }
        let hooked = name.builtIn.flatMap { builtIn in
            jumps.filter { $0.chain == builtIn }.map {
                "-A \(builtIn) \($0.rule.description(family))"
            }
        }
        let rules = names.flatMap { name in
            (chains[name] ?? []).map { "-A \(name) \($0.description(family))" }
        }
        return (["*\(name.rawValue)"] + declared + hooked + rules + ["COMMIT", ""])
            .joined(separator: "\n")
    }
}
