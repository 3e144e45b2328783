// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel
internal import XTables

/// What legacy rules of ours are made of, each tried in a rule.
enum LegacyProbe {
    static func probes(in scratch: Scratch) -> [FeatureProbe] {
        AddressFamily.allCases.flatMap { family in
            (requiredTrials + optionalTrials).map { trial in
                FeatureProbe(trial.feature(family)) {
                    ProbeAnswer { () throws(KernelError) in
                        try scratch.run { (namespace) throws(KernelError) in
                            try attempt(trial, family, in: namespace)
                        }
                    }
                }
            }
        }
    }

    private struct Trial {
        let name: String
        /// The first kernel, by family.
        let since: [AddressFamily: String]
        let use: String
        let replacement: String?
        let table: LegacyTable.Name
        let rule: XTRule
        let tests: String

        init(
            _ name: String, _ since: String, ipv6: String? = nil, _ use: String,
            without replacement: String? = nil, in table: LegacyTable.Name, _ rule: XTRule,
            tests: String
        ) {
            self.name = name
            self.since = [.ipv4: since, .ipv6: ipv6 ?? since]
            self.use = use
            self.replacement = replacement
            self.table = table
            self.rule = rule
            self.tests = tests
        }

        func feature(_ family: AddressFamily) -> Feature {
            // Without IPv6 tables, plans that leave IPv6 alone still work.
            let replacement =
                family == .ipv4 ? replacement : replacement ?? "plans that leave IPv6 alone work"
            return Feature(
                .legacy, family == .ipv4 ? name : name + ", IPv6", since: since[family] ?? "",
                use: use, without: replacement, probe: "writing a rule with it",
                after: [Scratch.name], tests: [tests])
        }
    }

    private static var requiredTrials: [Trial] {
        var byOwner = XTRule(.return)
        byOwner.owner = .uids(0...9)
        var commented = XTRule(.return)
        commented.comment = "probe"
        var byPort = XTRule(.return)
        byPort.transport = .tcp
        byPort.destinationPorts = 1...9
        var redirect = XTRule(.redirect(port: 1))
        redirect.transport = .tcp
        return [
            Trial(
                "nat table", "2.4", ipv6: "3.7", "the rules", in: .nat, XTRule(.return),
                tests: "RuleWritingTests"),
            Trial("xt_tcp", "2.6.16", "ports", in: .nat, byPort, tests: "TrafficTests"),
            Trial(
                "xt_owner", "2.6.25", "telling the sidecar apart, excluded owners", in: .nat,
                byOwner, tests: "TrafficTests"),
            Trial(
                "xt_comment", "2.6.16", "reasons and counters", in: .nat, commented,
                tests: "RuleWritingTests"),
            Trial(
                "xt_REDIRECT", "2.4", ipv6: "3.7", "redirection", in: .nat, redirect,
                tests: "TrafficTests"),
        ]
    }

    private static var optionalTrials: [Trial] {
        var assign = XTRule(.assign(port: 1))
        assign.transport = .tcp
        var remember = XTRule(.remember(1))
        remember.connectionMark = 1
        let refused = "plans that need it are refused by name"
        let drops = "families that are dropped"
        return [
            Trial(
                "filter table", "2.4", drops, without: refused, in: .filter, XTRule(.drop),
                tests: "TrafficTests"),
            Trial(
                "mangle table", "2.4", drops, without: refused, in: .mangle, XTRule(.drop),
                tests: "TrafficTests"),
            Trial(
                "xt_CT", "3.10", "name lookups over UDP", without: refused, in: .raw,
                XTRule(.zone(1)), tests: "LookupTests"),
            Trial(
                "xt_TPROXY", "2.6.37", "transparent inbound", without: refused, in: .mangle,
                assign, tests: "TransparentTests"),
            Trial(
                "xt_connmark", "4.17", "transparent inbound with SYN cookies", without: refused,
                in: .mangle, remember, tests: "TransparentTests"),
        ]
    }

    /// Writes one rule and removes it again.
    private static func attempt(
        _ trial: Trial, _ family: AddressFamily, in namespace: NetworkNamespace
    ) throws(KernelError) {
        try namespace.run { () throws(KernelError) in
            try XTables.exclusively { () throws(KernelError) in
                var table = try XTable.open(trial.table.rawValue, family)
                // REDIRECT may only stand where a nat hook leads, TPROXY where packets arrive.
                let chain = [.mangle: "PREROUTING", .filter: "INPUT"][trial.table] ?? "OUTPUT"
                try table.append(trial.rule, to: chain)
                try table.commit()
                try clear(chain, of: trial.table, family)
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
