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
}

extension NFTBaseChain: CustomStringConvertible {
    package var description: String { "chain \(chain.name) of table \(family) \(table)" }
}

extension NFTConnection {
    /// All base chains of IP packets, in the order of their priorities.
    package mutating func baseChains() throws(KernelError) -> [NFTBaseChain] {
        var rules: [Place: Int] = [:]
        for rule in try dumpAll(NFT_MSG_GETRULE) {
            let (table, chain) = (NFTA_RULE_TABLE.rawValue, NFTA_RULE_CHAIN.rawValue)
            rules[Place(rule, table: table, chain: chain), default: 0] += 1
        }
        let chains = try dumpAll(NFT_MSG_GETCHAIN).compactMap { object -> NFTBaseChain? in
            guard let family = NFTBaseChain.Family(rawValue: object.family),
                let chain = NFTChain(attributes: object.attributes), let hook = chain.hook
            else { return nil }
            let place = Place(
                object, table: NFTA_CHAIN_TABLE.rawValue, chain: NFTA_CHAIN_NAME.rawValue)
            let policy = object.attributes.number(NFTA_CHAIN_POLICY.rawValue)
            return NFTBaseChain(
                family: family, table: place.table, chain: chain, hook: hook,
                rules: rules[place] ?? 0, dropsByDefault: policy == UInt32(bitPattern: NF_DROP))
        }
        return chains.sorted { $0.hook.priority < $1.hook.priority }
    }

    private struct Object {
        let family: UInt8
        let attributes: [NetlinkAttribute]
    }

    private struct Place: Hashable {
        let family: UInt8
        let table: String
        let chain: String

        init(_ object: Object, table: UInt32, chain: UInt32) {
            family = object.family
            self.table = object.attributes.text(table) ?? ""
            self.chain = object.attributes.text(chain) ?? ""
        }
    }

    /// All objects of a kind, of all families.
    private mutating func dumpAll(_ type: nf_tables_msg_types) throws(KernelError) -> [Object] {
        var message = NetlinkMessage(
            Int(NFNL_SUBSYS_NFTABLES) << 8 | Int(type.rawValue),
            flags: NLM_F_REQUEST | NLM_F_DUMP)
        message.add(header: nfgenmsg(nfgen_family: 0, version: 0, res_id: 0))
        // Each answer has the family in its own header, which follows that of netlink.
        return try socket.dump(message, "list all of nf_tables").map { reply in
            Object(
                family: reply.count > 16 ? reply[16] : 0,
                attributes: reply.netlinkAttributes(from: 20))
        }
    }
}
