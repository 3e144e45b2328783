// SPDX-License-Identifier: Apache-2.0

internal import NFTables
internal import RedirectionEngine
internal import RedirectionModel
internal import XTables

/// Rules as the operator's tools print them, chain by chain, to be shown and to be compared.
package struct RuleListing: Hashable, Sendable {
    package struct Section: Hashable, Sendable {
        /// Where the lines stand: `table inet swerve`, `ipv6 nat`; and the chain.
        package let table: String
        package let chain: String
        package let lines: [String]
    }

    package let sections: [Section]
}

extension RuleSet {
    /// The rules as the mechanism has them.
    package func listing(_ flavor: IPTablesBackend.Flavor) -> RuleListing {
        switch flavor {
        case .nft: RuleListing(nftChains)
        case .legacy:
            RuleListing(legacyTables())
        }
    }
}

extension RuleListing {
    init(_ tables: [LegacyTable]) {
        sections = tables.flatMap { table in
            let hooked = table.name.builtIn.map { chain in
                (chain, table.jumps.filter { $0.chain == chain }.map(\.rule))
            }
            let chains = table.chains.keys.sorted().map { ($0, table.chains[$0] ?? []) }
            return (hooked + chains).filter { !$0.1.isEmpty }.map { chain, rules in
                RuleListing.Section(table.family, table.name, chain, rules)
            }
        }
    }

    init(_ contents: [NFTChainContents]) {
        sections = contents.map { content in
            Section(
                table: "table inet \(RuleSet.nftTable)", chain: content.chain.name,
                lines: (content.chain.hook.map { [$0.listing] } ?? [])
                    + content.rules.map(\.listing))
        }
    }
}

extension RuleListing.Section {
    /// A legacy chain; a rule that is not in our words says so.
    init(
        _ family: AddressFamily, _ name: LegacyTable.Name, _ chain: String, _ rules: [XTRule?]
    ) {
        table = "\(family) \(name)"
        self.chain = chain
        lines = rules.map { "-A \(chain) " + ($0?.description(family) ?? "[a rule of others]") }
    }
}

extension RenderedPlan {
    /// Rules as files that nft(8) and iptables-restore(8) take, a section a table.
    init(_ listing: RuleListing, _ flavor: IPTablesBackend.Flavor) {
        let names = listing.sections.map(\.table)
        let tables = names.enumerated().filter { names.firstIndex(of: $0.element) == $0.offset }
        self.init(
            tables.map { _, table in
                let chains = listing.sections.filter { $0.table == table }
                return switch flavor {
                case .nft: Section(table, Self.nftLines(table, chains))
                case .legacy: Section(table, Self.legacyLines(table, chains))
                }
            })
    }

    private static func nftLines(_ table: String, _ chains: [RuleListing.Section]) -> [String] {
        let blocks = chains.map { chain in
            ["\tchain \(chain.chain) {"] + chain.lines.map { "\t\t\($0)" } + ["\t}"]
        }
        return ["\(table) {"] + blocks.joined(separator: [""]) + ["}"]
    }

    private static func legacyLines(
        _ table: String, _ chains: [RuleListing.Section]
    ) -> [String] {
        let name = table.split(separator: " ").last.map { String($0) } ?? table
        let declared = chains.map { chain in
            let isOurs = chain.chain.hasPrefix(LegacyTable.prefix)
            return ":\(chain.chain) \(isOurs ? "-" : "ACCEPT") [0:0]"
        }
        return ["*\(name)"] + declared + chains.flatMap(\.lines) + ["COMMIT"]
    }
}
