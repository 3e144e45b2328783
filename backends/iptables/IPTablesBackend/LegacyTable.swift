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
        case nat
        case filter

        /// The built-in chains, in the order iptables-save(8) lists them.
        var builtIn: [String] {
            switch self {
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
            case .drop, .redirect: false
            }
        }
    }
}

extension RuleSet {
    /// The rule set as legacy tables, those that drop before those that redirect.
    package func legacyTables(
        for families: Set<AddressFamily> = Set(AddressFamily.allCases)
    ) -> [LegacyTable] {
        let wanted = LegacyTable.Name.allCases.reversed().flatMap { name in
            AddressFamily.allCases.filter(families.contains).map { (name, $0) }
        }.filter { name, family in
            hooks.contains { $0.point.table == name && $0.rule.families.contains(family) }
        }
        return wanted.map { name, family in
            legacyTable(name, family, of: wanted.count)
        }
    }

    private func legacyTable(
        _ name: LegacyTable.Name, _ family: AddressFamily, of count: Int
    ) -> LegacyTable {
        var contents = [LegacyTable.planChain: [XTRule(plan: fingerprint, of: count)]]
        for chain in chains where chain.name.drops == (name == .filter) {
            contents[chain.name.legacy] = chain.rules.flatMap { $0.legacyRules(family) }
        }
        let jumps = hooks.filter { $0.point.table == name && $0.rule.families.contains(family) }
            .flatMap { hook in
                hook.rule.legacyRules(family).map {
                    LegacyTable.Jump(chain: hook.point.builtInChain, rule: $0)
                }
            }
        return LegacyTable(name: name, family: family, jumps: jumps, chains: contents)
    }
}

extension Hook.Point {
    var table: LegacyTable.Name { self == .natOutput || self == .natPrerouting ? .nat : .filter }

    var builtInChain: String {
        switch self {
        case .natOutput, .filterOutput: "OUTPUT"
        case .natPrerouting: "PREROUTING"
        case .filterInput: "INPUT"
        }
    }
}

extension Chain.Name {
    var legacy: String { LegacyTable.prefix + rawValue.uppercased() }
}

extension XTRule {
    /// The rule that says which plan a table belongs to, and how many tables make up the plan.
    ///
    /// Tables are committed one by one; the number tells a plan from a part of one.
    init(plan fingerprint: PlanFingerprint, of tables: Int) {
        self.init(.return)
        comment = "plan \(fingerprint) in \(tables)"
    }
}

extension Rule {
    /// The rule in `family`: a legacy rule for each element of its match, none for another family.
    ///
    /// The elements are disjoint, so a packet is counted once however many there are.
    func legacyRules(_ family: AddressFamily) -> [XTRule] {
        guard families.contains(family) else { return [] }
        var base = XTRule(action.legacyTarget)
        base.comment = comment
        if case .redirect = base.target { base.isTCP = true }
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
        case .tcp: return each([true]) { $0.isTCP = $1 }
        case .newTCP: return each([true]) { ($0.isTCP, $0.isNew) = ($1, $1) }
        case .inInterfaces(let names): return each(names.sorted()) { $0.inInterface = $1.name }
        case .outInterfaces(let names): return each(names.sorted()) { $0.outInterface = $1.name }
        case .uids(let ids): return each(ids.ranges) { $0.owner = .uid($1.lowerBound) }
        case .gids(let ids): return each(ids.ranges) { $0.owner = .gid($1.lowerBound) }
        case .sources(let addresses): return each(addresses.networks) { $0.source = $1 }
        case .destinations(let addresses): return each(addresses.networks) { $0.destination = $1 }
        case .destinationPorts(let ports):
            base.isTCP = true
            return each(ports.ranges) { $0.destinationPorts = $1 }
        }
    }
}

extension Rule.Action {
    fileprivate var legacyTarget: XTRule.Target {
        switch self {
        case .jump(let chain): .jump(chain.legacy)
        case .goto(let chain): .goto(chain.legacy)
        case .decide(let verdict):
            switch verdict.action {
            case .pass: .return
            case .drop: .drop
            case .redirectOutbound(let port), .redirectInbound(let port), .redirectDNS(let port):
                .redirect(port: port)
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
            jumps.filter { $0.chain == builtIn }.map { "-A \(builtIn) \($0.rule)" }
        }
        let rules = names.flatMap { name in
            (chains[name] ?? []).map { "-A \(name) \($0)" }
        }
        return (["*\(name.rawValue)"] + declared + hooked + rules + ["COMMIT", ""])
            .joined(separator: "\n")
    }
}
