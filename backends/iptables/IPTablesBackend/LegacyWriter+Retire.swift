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
            var changes: [(place: Place, wanted: LegacyTable?)] = []
            for place in try Self.present() {
                let table = try Self.lasting(place)
                lasting += table.map { [$0] } ?? []
                changes.append((place, table))
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
        let keepers = redirectedPorts(of: table).sorted().map { port in
            var rule = XTRule(.redirect(port: port))
            rule.transport = .tcp
            rule.comment = "retired"
            return rule
        }
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

    /// The ports that rules of ours redirect to, whether or not anything leads to them.
    private static func redirectedPorts(of table: borrowing XTable) -> Set<UInt16> {
        let chains = table.chains.filter { $0.hasPrefix(LegacyTable.prefix) }
        var ports: Set<UInt16> = []
        for chain in chains { ports.formUnion(table.readRules(of: chain).compactMap(\.?.port)) }
        return ports
    }
}

extension LegacyTable {
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
