// SPDX-License-Identifier: Apache-2.0

internal import CLibNFTNL
package import LinuxKernel

/// A chain that the kernel calls by itself, in whoever's table of IP packets.
package struct NFTBaseChain: Hashable, Sendable {
    package enum Family: UInt8, Hashable, Sendable {
        case inet = 1
        case ip = 2
        case ip6 = 10
    }

    package let family: Family
    package let table: String
    package let chain: NFTChain
    package let hook: NFTChain.Hook
    /// How many rules it has itself.
    package let rules: Int
    /// Whether it drops what none of its rules decides.
    package let dropsByDefault: Bool
    /// A rule it leads to that takes packets elsewhere, or keeps them from being tracked.
    package let steering: Steering?

    /// What such a rule does, in nft(8)'s words.
    package enum Steering: String, Hashable, Sendable {
        case dnat
        case redirect
        case tproxy
        case notrack
    }
}

extension NFTBaseChain: CustomStringConvertible {
    package var description: String { "chain \(chain.name) of table \(family) \(table)" }
}

extension NFTConnection {
    /// All base chains of IP packets, in the order of their priorities.
    package mutating func baseChains() throws(KernelError) -> [NFTBaseChain] {
        let rules = Dictionary(grouping: try dumpAll(NFT_MSG_GETRULE), by: \.table)
        let chains = try dumpAll(NFT_MSG_GETCHAIN).compactMap { object -> NFTBaseChain? in
            guard let family = NFTBaseChain.Family(rawValue: object.table.family),
                let chain = NFTChain(attributes: object.attributes), let hook = chain.hook
            else { return nil }
            let neighbors = (rules[object.table] ?? []).map(\.attributes)
            let policy = object.attributes.number(NFTA_CHAIN_POLICY.rawValue)
            return NFTBaseChain(
                family: family, table: object.table.name, chain: chain, hook: hook,
                rules: neighbors.count { $0.text(NFTA_RULE_CHAIN.rawValue) == chain.name },
                dropsByDefault: policy == UInt32(bitPattern: NF_DROP),
                steering: SteeringWalk(rules: neighbors).steering(from: chain.name))
        }
        return chains.sorted { $0.hook.priority < $1.hook.priority }
    }

    private struct TableName: Hashable {
        let family: UInt8
        let name: String
    }

    private struct Object {
        let table: TableName
        let attributes: [NetlinkAttribute]
    }

    /// All objects of a kind, whatever their table.
    private mutating func dumpAll(_ type: nf_tables_msg_types) throws(KernelError) -> [Object] {
        try dumpMessages(type, family: 0, table: nil, part: nil).map { reply in
            let attributes = reply.netlinkAttributes(from: 20)
            // NFTA_CHAIN_TABLE and NFTA_RULE_TABLE are both 1; the family is in the header.
            let table = TableName(
                family: reply.count > 16 ? reply[16] : 0,
                name: attributes.text(NFTA_RULE_TABLE.rawValue) ?? "")
            return Object(table: table, attributes: attributes)
        }
    }
}
