// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import NFTables
internal import RedirectionEngine

/// What nf_tables rules of ours are made of, each tried in a rule.
enum NFTProbe {
    static func probes(in scratch: Scratch) -> [FeatureProbe] {
        (requiredTrials + optionalTrials).map { trial in
            FeatureProbe(trial.feature) {
                ProbeAnswer { () throws(KernelError) in
                    try scratch.run { (namespace) throws(KernelError) in
                        try attempt(trial, in: namespace)
                    }
                }
            }
        }
    }

    private struct Trial {
        let feature: Feature
        let hook: Hook.Point?
        let expressions: [NFTExpression]

        init(
            _ name: String, _ since: String, _ use: String, without replacement: String? = nil,
            on hook: Hook.Point? = nil, _ expressions: [NFTExpression], tests: String
        ) {
            feature = Feature(
                .nft, name, since: since, use: use, without: replacement,
                probe: "writing a rule with it", after: [Scratch.name], tests: [tests])
            self.hook = hook
            self.expressions = expressions
        }
    }

    private static let isTCP: [NFTExpression] = [.load(.transportProtocol), .equals([6])]

    private static var requiredTrials: [Trial] {
        let ports = NFTSet(.port, [NFTSet.Range([0, 1], [0, 9])])
        let owners = NFTSet(.uid, [NFTSet.Range([0, 0, 0, 0], [0, 0, 0, 9])])
        return [
            Trial("nf_tables", "3.13", "the rules", [.counter], tests: "RuleWritingTests"),
            Trial(
                "inet nat chains", "5.2", "one table, both families", on: .natOutput, [],
                tests: "TrafficTests"),
            Trial(
                "nf_tables redirect", "5.2", "redirection", on: .natOutput,
                isTCP + [.redirect(port: 1)], tests: "TrafficTests"),
            Trial(
                "nf_tables interval sets", "3.13", "ports, networks, owners",
                isTCP + [.loadHeader(.transport, offset: 2, length: 2), .isIn(ports)],
                tests: "LargePlanTests"),
            Trial(
                "meta skuid, skgid", "3.13", "telling the sidecar apart, excluded owners",
                on: .natOutput, [.load(.socketUID), .toNetworkOrder, .isIn(owners)],
                tests: "TrafficTests"),
        ]
    }

    private static var optionalTrials: [Trial] {
        let refused = "plans that need it are refused by name"
        return [
            Trial(
                "inet filter chains", "3.14", "families that are dropped", without: refused,
                on: .filterInput, [.drop], tests: "TrafficTests"),
            Trial(
                "ct zone set", "4.11", "name lookups over UDP", without: refused, on: .rawOutput,
                [.zone(1)], tests: "LookupTests"),
            Trial(
                "nf_tables tproxy", "4.19", "transparent inbound", without: refused,
                on: .manglePrerouting, isTCP + [.assign(port: 1, family: 0)],
                tests: "TransparentTests"),
            Trial(
                "ct mark in nf_tables", "3.14", "transparent inbound with SYN cookies",
                without: refused, on: .manglePrerouting,
                [.loadConnectionMark, .storeConnectionMark], tests: "TransparentTests"),
        ]
    }

    /// Writes one rule into a table of its own, and removes it again.
    private static func attempt(
        _ trial: Trial, in namespace: NetworkNamespace
    ) throws(KernelError) {
        var connection = try NFTConnection.open(in: namespace)
        var batch = NFTBatch(table: "probe")
        batch.addTable()
        batch.add(NFTChain("probe", hook: trial.hook?.nftHook))
        batch.add(NFTRule(trial.expressions, comment: "probe"), to: "probe")
        try connection.commit(batch.encode())
        var cleaning = NFTBatch(table: "probe")
        cleaning.deleteTable()
        try connection.commit(cleaning.encode())
    }
}
