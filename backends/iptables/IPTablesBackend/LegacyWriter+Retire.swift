// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel
internal import XTables

/// The end of chains whose connections outlive them: what `RetiredConnections` says must stay.
extension LegacyWriter {
    func retire(
        in namespace: NetworkNamespace, for successor: Successor
    ) async throws(RedirectionError) -> Int {
        var lasting: [LegacyTable] = []
        try await locked(namespace, "retire legacy tables") { () throws(KernelError) in
            var changes: [Change] = []
            for place in try Self.present() {
                let wanted = try Self.lasting(place).map { [$0] } ?? []
                lasting += wanted
                // Most looks change nothing, and each change writes a whole table.
                if try Self.sections(of: place) != RuleListing(wanted).sections {
                    changes.append((place, wanted.first))
                }
            }
            try edit(changes)
        }
        guard !lasting.isEmpty else { return 0 }
        let living = try during("count connections") { () throws(KernelError) in
            let connections = try RetiredConnections(
                in: namespace, on: Set(lasting.flatMap(\.redirectedPorts)))
            let names = lasting.flatMap(\.chains.keys).compactMap { Chain.Name(legacy: $0) }
            let families = lasting.filter { !$0.redirectedPorts.isEmpty }.map(\.family)
            return connections.count(Set(names), families, successor)
        }
        if living == 0 { try await erase(in: namespace) }
        return living
    }

    func translates(in namespace: NetworkNamespace) throws(RedirectionError)
        -> Set<AddressFamily>
    {
        Set(
            try reading(namespace) { place throws(KernelError) in
                guard place.name == .nat else { return [] }
                let table = try XTable.open(place.name.rawValue, place.family)
                return Self.redirectedPorts(of: table).isEmpty ? [] : [place.family]
            })
    }

    /// What of a table must stay; `nil` for nothing.
    private static func lasting(_ place: Place) throws(KernelError) -> LegacyTable? {
        let table = try XTable.open(place.name.rawValue, place.family)
        let names = Set(RuleSet.lastingChains.map(\.legacy)).intersection(table.chains)
        let keepers = LegacyTable.keepers(redirectedPorts(of: table))
        guard !names.isEmpty || !keepers.isEmpty else { return nil }
        let jumps = place.name.builtIn.flatMap { chain in
            table.readRules(of: chain).compactMap { $0 }
                .filter { $0.target.next.map(names.contains) ?? false }
                .map { LegacyTable.Jump(chain: chain, rule: $0) }
        }
        var chains = Dictionary(
            uniqueKeysWithValues: names.map { ($0, table.readRules(of: $0).compactMap { $0 }) })
        if !keepers.isEmpty { chains[Chain.Name.retired.legacy] = keepers }
        return LegacyTable(name: place.name, family: place.family, jumps: jumps, chains: chains)
    }

    /// The ports of each family that rules of ours redirect to.
    static func redirections(in present: [Place]) throws(KernelError) -> Redirections {
        var found: Redirections = [:]
        for place in present where place.name == .nat {
            found[place.family] = redirectedPorts(
                of: try XTable.open(place.name.rawValue, place.family))
        }
        return found
    }

    /// The ports that rules of ours redirect to, whether or not anything leads to them.
    private static func redirectedPorts(of table: borrowing XTable) -> Set<UInt16> {
        let chains = table.chains.filter { $0.hasPrefix(LegacyTable.prefix) }
        var ports: Set<UInt16> = []
        for chain in chains { ports.formUnion(table.readRules(of: chain).compactMap(\.?.port)) }
        return ports
    }
}

/// Ports that connections are redirected to, by family.
typealias Redirections = [AddressFamily: Set<UInt16>]

extension Redirections {
    /// Those where the tables redirect nothing.
    func beyond(_ tables: [LegacyTable]) -> Redirections {
        var rest = self
        for table in tables { rest[table.family]?.subtract(table.redirectedPorts) }
        return rest
    }

    /// Those that connections need still.
    func living(in namespace: NetworkNamespace) throws(KernelError) -> Redirections {
        let ports = values.reduce(into: Set()) { $0.formUnion($1) }
        let living = try RetiredConnections.living(in: namespace, on: ports)
        var found: Redirections = [:]
        for (family, ports) in self {
            let both = ports.intersection(living[family] ?? [])
            if !both.isEmpty { found[family] = both }
        }
        return found
    }
}

extension [LegacyTable] {
    /// The same with what keeps the kernel tracking connections that went to the ports.
    func keeping(_ redirections: Redirections) -> [LegacyTable] {
        var tables = self
        for (family, ports) in redirections {
            let index = tables.firstIndex { $0.place == (.nat, family) }
            let table = index.map { tables.remove(at: $0) }
            var chains = table?.chains ?? [:]
            chains[Chain.Name.retired.legacy] = LegacyTable.keepers(ports)
            tables.append(
                LegacyTable(name: .nat, family: family, jumps: table?.jumps ?? [], chains: chains))
        }
        return tables
    }
}

extension LegacyTable {
    /// Rules that nothing leads to, one for each port.
    fileprivate static func keepers(_ ports: Set<UInt16>) -> [XTRule] {
        ports.sorted().map { port in
            var rule = XTRule(.redirect(port: port))
            rule.transport = .tcp
            rule.comment = "retired"
            return rule
        }
    }

    fileprivate var redirectedPorts: Set<UInt16> {
        Set(chains.values.joined().compactMap(\.port))
    }
}

extension XTRule {
    /// The port it redirects to.
    fileprivate var port: UInt16? {
        if case .redirect(let port) = target { port } else { nil }
    }
}

extension XTRule.Target {
    /// The chain it leads to.
    var next: String? {
        switch self {
        case .jump(let chain), .goto(let chain): chain
        default: nil
        }
    }
}
