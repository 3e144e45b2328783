// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import NFTables
internal import RedirectionEngine
internal import RedirectionModel

/// The end of a table whose connections outlive it: base chains that hold nothing, and what
/// `RetiredConnections` says must stay.
extension NFTWriter {
    func retire(
        in namespace: NetworkNamespace, for successor: Successor
    ) throws(RedirectionError) -> Int {
        let living = try during("retire table inet \(Self.table)") { () throws(KernelError) in
            var connection = try NFTConnection.open(in: namespace)
            let contents = try connection.contents(of: Self.table)
            guard !contents.isEmpty else { return 0 }
            let retired = Self.retired(contents)
            if contents != retired {
                ChangeLog.about(to: .rules, "retire table inet \(Self.table)")
                try Self.replace(retired, by: &connection)
            }
            // After the rules: what they have let through is in the table by now.
            let connections = try RetiredConnections(in: namespace, on: retired.redirectedPorts)
            let chains = Set(retired.map { Chain.Name($0.chain.name) })
            return connections.count(chains, AddressFamily.allCases, successor)
        }
        if living == 0 { try erase(in: namespace) }
        return living
    }

    func translates(in namespace: NetworkNamespace) throws(RedirectionError)
        -> Set<AddressFamily>
    {
        try during("read table inet \(Self.table)") { () throws(KernelError) in
            var connection = try NFTConnection.open(in: namespace)
            // Of an `inet` table, one such rule does it for both families.
            let ports = try connection.contents(of: Self.table).redirectedPorts
            return ports.isEmpty ? [] : Set(AddressFamily.allCases)
        }
    }

    private static func retired(_ contents: [NFTChainContents]) -> [NFTChainContents] {
        let lasting = contents.filter { content in
            RuleSet.lastingChains.contains(Chain.Name(content.chain.name))
                && content.rules.allSatisfy(\.isOurs)
        }
        let names = Set(lasting.map(\.chain.name))
        let hooks = contents.compactMap { content -> NFTChainContents? in
            guard let hook = content.chain.hook else { return nil }
            let rules = content.rules.filter { $0.isOurs && $0.leads(to: names) }
            if hook.type != "nat", rules.isEmpty { return nil }
            return NFTChainContents(chain: content.chain, rules: rules)
        }
        return hooks + [.keeping(contents.redirectedPorts)] + lasting
    }

    /// Replaces what is there by `contents`, and by what connections need that earlier rules have
    /// redirected to ports where these redirect nothing.
    static func replace(
        _ contents: [NFTChainContents], in namespace: NetworkNamespace,
        by connection: inout NFTConnection
    ) throws(KernelError) {
        let before = try connection.contents(of: table)
        let ports = before.redirectedPorts.subtracting(contents.redirectedPorts)
        func living() throws(KernelError) -> Set<UInt16> {
            try RetiredConnections.living(in: namespace, on: ports).values
                .reduce(into: []) { $0.formUnion($1) }
        }
        let kept = try living()
        ChangeLog.about(to: .rules, "write table inet \(table)")
        try replace(contents.keeping(kept, hookedAs: before), by: &connection)
        // One may have begun while we wrote.
        let now = try living().union(kept)
        if now == kept { return }
        ChangeLog.about(to: .rules, "write table inet \(table) once more")
        try replace(contents.keeping(now, hookedAs: before), by: &connection)
    }
}

extension NFTChainContents {
    /// The chain that nothing leads to, with a rule for each of the ports.
    fileprivate static func keeping(_ ports: Set<UInt16>) -> NFTChainContents {
        let rules = ports.sorted().map { port in
            NFTRule(
                [.load(.transportProtocol), .equals([6]), .counter, .redirect(port: port)],
                comment: "retired")
        }
        return NFTChainContents(chain: NFTChain(Chain.Name.retired.rawValue), rules: rules)
    }
}

extension [NFTChainContents] {
    /// The same with what keeps the kernel translating for connections to the ports; one base chain
    /// of type nat is enough.
    fileprivate func keeping(
        _ ports: Set<UInt16>, hookedAs before: [NFTChainContents]
    ) -> [NFTChainContents] {
        if ports.isEmpty { return self }
        func isNAT(_ content: NFTChainContents) -> Bool { content.chain.hook?.type == "nat" }
        let hook = contains(where: isNAT) ? nil : before.first(where: isNAT)
        return (hook.map { [NFTChainContents(chain: $0.chain, rules: [])] } ?? []) + self
            + [.keeping(ports)]
    }

    /// The ports that rules redirect to, whether or not anything leads to them.
    fileprivate var redirectedPorts: Set<UInt16> {
        Set(
            flatMap(\.rules).flatMap(\.expressions).compactMap { expression in
                if case .redirect(let port) = expression { port } else { nil }
            })
    }
}

extension NFTRule {
    /// False where somebody has changed it beyond our words.
    fileprivate var isOurs: Bool {
        expressions.allSatisfy { if case .unknown = $0 { false } else { true } }
    }

    fileprivate func leads(to chains: Set<String>) -> Bool {
        expressions.contains { expression in
            switch expression {
            case .jump(let chain), .goto(let chain): chains.contains(chain)
            default: false
            }
        }
    }
}
