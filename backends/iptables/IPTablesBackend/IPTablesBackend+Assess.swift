// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import NFTables
package import RedirectionEngine
internal import RedirectionModel
internal import SystemPackage
internal import XTables

extension IPTablesBackend {
    /// Finds out what this kernel has of a kind of rules, by writing some into a namespace made
    /// for it.
    package static func assess(_ flavor: Flavor) -> Assessment {
        do throws(KernelError) {
            let scratch = try NetworkNamespace.create()
            return flavor == .nft ? NFTProbe.assess(in: scratch) : LegacyProbe.assess(in: scratch)
        } catch {
            let report = FeatureReport(
                "network namespaces", since: "3.0", use: "a place to try rules in",
                answer: .unknown("\(error)"))
            return Assessment(flavor == .nft ? .nft : .legacy, [report])
        }
    }
}

/// Turns what a trial throws into an answer; only an errno that says "no such thing" is a no.
private func answer(_ trial: () throws(KernelError) -> Void) -> ProbeAnswer {
    do throws(KernelError) {
        try trial()
        return .yes
    } catch {
        return error.saysMissing ? .no("\(error)") : .unknown("\(error)")
    }
}

private enum NFTProbe {
    static func assess(in namespace: NetworkNamespace) -> Assessment {
        let nat = Hook.Point.natOutput.nftHook
        let filter = Hook.Point.filterInput.nftHook
        let raw = Hook.Point.rawOutput.nftHook
        let mangle = Hook.Point.manglePrerouting.nftHook
        let ports = NFTSet(.port, [NFTSet.Range([0, 1], [0, 9])])
        let owners = NFTSet(.uid, [NFTSet.Range([0, 0, 0, 0], [0, 0, 0, 9])])
        let isTCP: [NFTExpression] = [.load(.transportProtocol), .equals([6])]
        func feature(
            _ name: String, since: String, use: String, isRequired: Bool = true,
            _ hook: NFTChain.Hook?, _ expressions: [NFTExpression]
        ) -> FeatureReport {
            FeatureReport(
                name, since: since, use: use, isRequired: isRequired,
                answer: answer { () throws(KernelError) in
                    try attempt(hook, expressions, in: namespace)
                })
        }
        return Assessment(
            .nft,
            [
                feature("nf_tables", since: "3.13", use: "the rules", nil, [.counter]),
                feature("inet nat chains", since: "5.2", use: "one table, both families", nat, []),
                feature(
                    "nf_tables redirect", since: "5.2", use: "redirection", nat,
                    isTCP + [.redirect(port: 1)]),
                feature(
                    "nf_tables interval sets", since: "3.13", use: "ports and networks", nil,
                    isTCP + [.loadHeader(.transport, offset: 2, length: 2), .isIn(ports)]),
                feature(
                    "nf_tables socket owner", since: "3.13", use: "telling the sidecar apart",
                    nat, [.load(.socketUID), .toNetworkOrder, .isIn(owners)]),
                feature(
                    "inet filter chains", since: "3.14", use: "families that are dropped",
                    isRequired: false, filter, [.drop]),
                feature(
                    "nf_tables tracking zones", since: "4.11", use: "lookups over UDP",
                    isRequired: false, raw, [.zone(1)]),
                feature(
                    "nf_tables tproxy", since: "4.19", use: "transparent inbound",
                    isRequired: false, mangle, isTCP + [.assign(port: 1, family: 0)]),
                feature(
                    "nf_tables connection marks", since: "3.14", use: "transparent inbound",
                    isRequired: false, mangle, [.loadConnectionMark, .storeConnectionMark]),
            ])
    }

    /// Writes one rule into a table of its own, and removes it again.
    private static func attempt(
        _ hook: NFTChain.Hook?, _ expressions: [NFTExpression], in namespace: NetworkNamespace
    ) throws(KernelError) {
        var connection = try NFTConnection.open(in: namespace)
        var trial = NFTBatch(table: "probe")
        trial.addTable()
        trial.add(NFTChain("probe", hook: hook))
        trial.add(NFTRule(expressions, comment: "probe"), to: "probe")
        try connection.commit(trial.encode())
        var cleaning = NFTBatch(table: "probe")
        cleaning.deleteTable()
        try connection.commit(cleaning.encode())
    }
}

private enum LegacyProbe {
    static func assess(in namespace: NetworkNamespace) -> Assessment {
        var byOwner = XTRule(.return)
        byOwner.owner = .uids(0...9)
        var commented = XTRule(.return)
        commented.comment = "probe"
        var byPort = XTRule(.return)
        byPort.transport = .tcp
        byPort.destinationPorts = 1...9
        var redirect = XTRule(.redirect(port: 1))
        redirect.transport = .tcp
        var assign = XTRule(.assign(port: 1))
        assign.transport = .tcp
        var remember = XTRule(.remember(1))
        remember.connectionMark = 1
        let isRequired: [AddressFamily: Bool] = [.ipv4: true, .ipv6: false]

        let features = AddressFamily.allCases.flatMap { family in
            let suffix = family == .ipv4 ? "" : ", IPv6"
            let trials: [(String, String, String, LegacyTable.Name, XTRule)] = [
                ("legacy nat table", "3.7", "the rules", .nat, XTRule(.return)),
                ("xt_tcp", "2.6.16", "ports", .nat, byPort),
                ("xt_owner", "2.6.25", "telling the sidecar apart", .nat, byOwner),
                ("xt_comment", "2.6.16", "reasons and counters", .nat, commented),
                ("xt_REDIRECT", "3.7", "redirection", .nat, redirect),
                ("legacy filter table", "2.6.16", "dropped families", .filter, XTRule(.drop)),
                ("legacy mangle table", "2.6.16", "dropped families", .mangle, XTRule(.drop)),
                ("xt_CT", "3.10", "lookups over UDP", .raw, XTRule(.zone(1))),
                ("xt_TPROXY", "2.6.37", "transparent inbound", .mangle, assign),
                ("xt_connmark", "4.17", "transparent inbound", .mangle, remember),
            ]
            return trials.map { name, since, use, table, rule in
                FeatureReport(
                    name + suffix, since: since, use: use,
                    // Without IPv6 tables, plans that leave IPv6 alone still work.
                    isRequired: isRequired[family] == true && table == .nat,
                    answer: answer { () throws(KernelError) in
                        try attempt(rule, table, family, in: namespace)
                    })
            }
        }
        return Assessment(.legacy, features)
    }

    /// Writes one rule and removes it again.
    private static func attempt(
        _ rule: XTRule, _ name: LegacyTable.Name, _ family: AddressFamily,
        in namespace: NetworkNamespace
    ) throws(KernelError) {
        try namespace.run { () throws(KernelError) in
            try XTables.exclusively { () throws(KernelError) in
                var table = try XTable.open(name.rawValue, family)
                // REDIRECT may only stand where a nat hook leads, TPROXY where packets arrive.
                let chain = [.mangle: "PREROUTING", .filter: "INPUT"][name] ?? "OUTPUT"
                try table.append(rule, to: chain)
                try table.commit()
                try clear(chain, of: name, family)
            }
        }
    }

    private static func clear(
        _ chain: String, of name: LegacyTable.Name, _ family: AddressFamily
    ) throws(KernelError) {
        var table = try XTable.open(name.rawValue, family)
        try table.flush(chain)
        try table.commit()
    }
}
