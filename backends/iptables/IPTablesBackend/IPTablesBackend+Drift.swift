// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import NFTables
package import RedirectionEngine
package import RedirectionModel
internal import XTables

extension IPTablesBackend {
    /// How rules and routing differ from what `apply` of the plan leaves, order included; and who
    /// comes before them.
    package func drift(
        from plan: RedirectionPlan, in workload: Workload
    ) async throws(RedirectionError) -> [Drift] {
        let rules = compile(plan)
        let found = try await writer.drift(from: rules, plan.isEnabled, in: workload.namespace)
        return try found + routingDrift(from: rules, in: workload.namespace)
    }

    private nonisolated func routingDrift(
        from rules: RuleSet, in namespace: NetworkNamespace
    ) throws(RedirectionError) -> [Drift] {
        try during("read routing rules") { () throws(KernelError) in
            guard let routing = rules.routing else {
                return try TransparentRouting.remains(in: namespace, of: owner)
                    .map { Drift(.changed, .routing, "\($0) is not of the plan") }
            }
            return try TransparentRouting(mark: routing.mark, table: routing.table)
                .missing(in: namespace, for: owner)
                .map { Drift(.missing, .routing, "\($0) is gone") }
        }
    }
}

extension NFTWriter {
    func drift(
        from rules: RuleSet, _ isOn: Bool, in namespace: NetworkNamespace
    ) throws(RedirectionError) -> [Drift] {
        let wanted = RuleListing(isOn ? rules.nftChains : [])
        let drift = try listing(in: namespace)
            .drift(from: wanted, all: "table inet \(RuleSet.nftTable)")
        guard isOn else { return drift }
        return try drift + preemption(of: rules, in: namespace)
    }

    private func preemption(
        of rules: RuleSet, in namespace: NetworkNamespace
    ) throws(RedirectionError) -> [Drift] {
        let ours = rules.hooksByPoint.map(\.point.nftHook)
        return try during("list base chains") { () throws(KernelError) in
            var connection = try NFTConnection.open(in: namespace)
            return try connection.baseChains().filter { chain in
                ours.contains { chain.preempts($0) }
            }.map(\.drift)
        }
    }
}

extension LegacyWriter {
    func drift(
        from rules: RuleSet, _ isOn: Bool, in namespace: NetworkNamespace
    ) throws(RedirectionError) -> [Drift] {
        let found = try listing(in: namespace)
        var wanted = isOn ? rules.legacyTables() : []
        // Where there is nothing at all, finding out more would make tables.
        if isOn, !found.sections.isEmpty {
            wanted = try during("read legacy tables") { () throws(KernelError) in
                try namespace.run { () throws(KernelError) in
                    try XTables.exclusively { () throws(KernelError) in
                        rules.legacyTables(for: try families(of: rules))
                    }
                }
            }
        }
        let drift = found.drift(from: RuleListing(wanted), all: "every legacy chain")
        return try drift + preceding(wanted, in: namespace) + preemption(wanted, in: namespace)
    }

    /// Rules of others that stand before our jumps.
    private func preceding(
        _ wanted: [LegacyTable], in namespace: NetworkNamespace
    ) throws(RedirectionError) -> [Drift] {
        try reading(namespace) { place throws(KernelError) in
            guard let jumps = wanted.first(where: { $0.place == place })?.jumps else { return [] }
            let table = try XTable.open(place.name.rawValue, place.family)
            return Set(jumps.map(\.chain)).sorted().compactMap { chain -> Drift? in
                let targets = table.rules(in: chain).map(\.target)
                guard let first = targets.firstIndex(where: { !$0.hasPrefix(LegacyTable.prefix) }),
                    targets[first...].contains(where: { $0.hasPrefix(LegacyTable.prefix) })
                else { return nil }
                return Drift(
                    .preempted, .rules,
                    "rule \(first + 1) of chain \(chain) of \(place.family) \(place.name) stands "
                        + "before ours: -j \(targets[first])")
            }
        }
    }

    /// Base chains of nf_tables that come before the legacy ones of their kind.
    private func preemption(
        _ wanted: [LegacyTable], in namespace: NetworkNamespace
    ) throws(RedirectionError) -> [Drift] {
        let hooks = Set(
            wanted.flatMap { table in table.jumps.compactMap { table.name.nftHook($0.chain) } })
        guard !hooks.isEmpty else { return [] }
        return try during("list base chains") { () throws(KernelError) in
            var connection = try NFTConnection.open(in: namespace)
            return try connection.baseChains().filter { chain in
                hooks.contains { chain.preempts($0) }
            }.map(\.drift)
        }
    }
}

extension LegacyTable.Name {
    /// Where a built-in chain stands among the base chains of nf_tables: `enum nf_ip_hook_priorities`.
    fileprivate func nftHook(_ chain: String) -> NFTChain.Hook? {
        let points: [String: NFTChain.Hook.Point] = [
            "PREROUTING": .prerouting, "INPUT": .input, "OUTPUT": .output,
        ]
        guard let point = points[chain] else { return nil }
        return switch self {
        case .raw: NFTChain.Hook(type: "filter", point, priority: -300)
        case .mangle: NFTChain.Hook(type: "filter", point, priority: -150)
        case .nat: NFTChain.Hook(type: "nat", point, priority: -100)
        case .filter: NFTChain.Hook(type: "filter", point, priority: 0)
        }
    }
}

extension NFTBaseChain {
    /// Whether it steers packets that our chain at `ours` should have seen as they were.
    ///
    /// Of two chains at one priority the younger comes first. Which that is the kernel does not say,
    /// so theirs counts as the younger.
    func preempts(_ ours: NFTChain.Hook) -> Bool {
        guard !isOurs, hook.point == ours.point else { return false }
        return switch steering {
        case nil: false
        // Before tracking, and for all that need it.
        case .notrack: ours.type == "nat"
        case .dnat, .redirect: ours.type == "nat" && hook.priority <= ours.priority
        case .tproxy: hook.priority <= ours.priority
        }
    }

    /// Whether it is in our table.
    var isOurs: Bool { family == .inet && table == RuleSet.nftTable }

    fileprivate var drift: Drift {
        let what = steering.map(\.rawValue) ?? ""
        return Drift(
            .preempted, .rules,
            "\(self), at priority \(hook.priority) of \(hook.point), comes before ours and has "
                + "a rule with \(what)")
    }
}
