// SPDX-License-Identifier: Apache-2.0

internal import CLibNFTNL
package import LinuxKernel

/// A base chain of any table.
package struct InstalledHook: Hashable, Sendable {
    /// `NFPROTO_IPV4`, `NFPROTO_IPV6`, `NFPROTO_INET`, ...
    package let family: UInt8
    package let table: String
    package let chain: String
    package let hook: NFTChain.Hook
    /// A rule it leads to that takes packets elsewhere, or keeps them from being tracked.
    package let steering: Steering?

    /// What such a rule does, in nft(8)'s words.
    package enum Steering: String, Hashable, Sendable {
        case dnat
        case redirect
        case tproxy
        case notrack
    }

    package static let inet = NFTBatch.inet
}

extension InstalledHook: CustomStringConvertible {
    package var description: String {
        let names: [UInt8: String] = [1: "inet", 2: "ip", 5: "netdev", 7: "bridge", 10: "ip6"]
        return "\(names[family] ?? "family \(family)") \(table) \(chain)"
    }
}

extension NFTConnection {
    /// Every base chain of the namespace that sees IP packets, with what it leads to.
    package mutating func hooks() throws(KernelError) -> [InstalledHook] {
        let chains = try dumpAll(NFT_MSG_GETCHAIN)
        let rules = Dictionary(grouping: try dumpAll(NFT_MSG_GETRULE), by: \.table)
        return chains.compactMap { object -> InstalledHook? in
            guard let chain = NFTChain(attributes: object.attributes), let hook = chain.hook,
                [2, 10, NFTBatch.inet].contains(object.table.family)
            else { return nil }
            let walk = SteeringWalk(rules: (rules[object.table] ?? []).map(\.attributes))
            return InstalledHook(
                family: object.table.family, table: object.table.name, chain: chain.name,
                hook: hook, steering: walk.steering(from: chain.name))
        }
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
            let name = attributes.first { $0.type == 1 }.map { String(netlink: $0.value) }
            return Object(
                table: TableName(family: reply[16], name: name ?? ""), attributes: attributes)
        }
    }
}

/// Looks for the first rule that steers, in a chain and whatever it leads to.
private struct SteeringWalk {
    private var rules: [String: [[NetlinkAttribute]]] = [:]

    init(rules: [[NetlinkAttribute]]) {
        for rule in rules {
            let chain = rule.text(NFTA_RULE_CHAIN.rawValue) ?? ""
            let expressions = rule.nested(NFTA_RULE_EXPRESSIONS.rawValue)
            self.rules[chain, default: []] += expressions.map {
                $0.value.netlinkAttributes(from: 0)
            }
        }
    }

    func steering(from chain: String) -> InstalledHook.Steering? {
        var seen: Set<String> = []
        var rest = [chain]
        while let name = rest.popLast() {
            guard seen.insert(name).inserted else { continue }
            for expression in rules[name] ?? [] {
                if let steering = Self.steering(expression) { return steering }
                rest += next(expression)
            }
        }
        return nil
    }

    private static func steering(_ expression: [NetlinkAttribute]) -> InstalledHook.Steering? {
        let data = expression.nested(NFTA_EXPR_DATA.rawValue)
        switch expression.text(NFTA_EXPR_NAME.rawValue) {
        case "redir": return .redirect
        case "tproxy": return .tproxy
        case "notrack": return .notrack
        case "nat":
            let isDestination = data.number(NFTA_NAT_TYPE.rawValue) == NFT_NAT_DNAT.rawValue
            return isDestination ? .dnat : nil
        default: return nil
        }
    }

    /// The chains it leads to: a verdict's, or, where a map gives the verdict, any of the table.
    private func next(_ expression: [NetlinkAttribute]) -> [String] {
        let data = expression.nested(NFTA_EXPR_DATA.rawValue)
        switch expression.text(NFTA_EXPR_NAME.rawValue) {
        case "immediate":
            let verdict = data.nested(NFTA_IMMEDIATE_DATA.rawValue)
                .nested(NFTA_DATA_VERDICT.rawValue)
            return verdict.text(NFTA_VERDICT_CHAIN.rawValue).map { [$0] } ?? []
        case "lookup": return data.number(NFTA_LOOKUP_DREG.rawValue) == 0 ? Array(rules.keys) : []
        default: return []
        }
    }
}
