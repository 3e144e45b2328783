// SPDX-License-Identifier: Apache-2.0

internal import NFTables
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

    /// A line of a difference: in the first listing alone, in the second alone, or in both.
    package struct Change: Hashable, Sendable {
        package let isAdded: Bool
        package let table: String
        package let chain: String
        package let line: String
    }

    /// What has to be removed from `installed` and added to it to make it this one, order
    /// included, chain by chain.
    package func changes(from installed: RuleListing) -> [Change] {
        func lines(_ listing: RuleListing, _ section: Section) -> [String] {
            listing.sections.first { $0.table == section.table && $0.chain == section.chain }?
                .lines ?? []
        }
        let gone = installed.sections.filter { lines(self, $0).isEmpty }
        return (sections + gone).flatMap { section in
            lines(self, section).difference(from: lines(installed, section)).map { change in
                switch change {
                case .insert(_, let line, _):
                    Change(isAdded: true, table: section.table, chain: section.chain, line: line)
                case .remove(_, let line, _):
                    Change(isAdded: false, table: section.table, chain: section.chain, line: line)
                }
            }
        }
    }
}

extension RuleSet {
    /// The rules as the mechanism has them.
    package func listing(_ flavor: IPTablesBackend.Flavor) -> RuleListing {
        switch flavor {
        case .nft: RuleListing(nftChains)
        case .legacy:
            RuleListing(
                sections: legacyTables().flatMap { table in
                    let hooked = table.name.builtIn.map { chain in
                        (chain, table.jumps.filter { $0.chain == chain }.map(\.rule))
                    }
                    let chains = table.chains.keys.sorted().map { ($0, table.chains[$0] ?? []) }
                    return (hooked + chains).filter { !$0.1.isEmpty }.map { chain, rules in
                        RuleListing.Section(table.family, table.name, chain, rules)
                    }
                })
        }
    }
}

extension RuleListing {
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
