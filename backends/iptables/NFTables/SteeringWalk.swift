// SPDX-License-Identifier: Apache-2.0

internal import CLibNFTNL
internal import LinuxKernel

/// Looks for the first rule that steers, in a chain and whatever it leads to.
struct SteeringWalk {
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

    func steering(from chain: String) -> NFTBaseChain.Steering? {
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

    private static func steering(_ expression: [NetlinkAttribute]) -> NFTBaseChain.Steering? {
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
