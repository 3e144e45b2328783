// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
package import RedirectionEngine
package import RedirectionModel
internal import XTables

/// Moves a workload's traffic by rules in its own network namespace: nf_tables or legacy.
///
/// The plan is compiled into one rule set whichever the writer. An actor, for neither netlink
/// sockets nor libiptc may be used by two threads at once.
package actor IPTablesBackend: RedirectionBackend {
    /// Which kind of rules.
    package enum Flavor: Sendable {
        case nft
        case legacy

        var mechanism: Mechanism { self == .nft ? .nft : .legacy }
        var owner: TransparentRouting.Owner { self == .nft ? .rules : .legacyRules }

        func writer(lockFile: String, patience: Duration) -> any RuleWriter {
            switch self {
            case .nft: NFTWriter()
            case .legacy: LegacyWriter(lockFile: lockFile, patience: patience)
            }
        }
    }

    package nonisolated let mechanism: Mechanism
    private let flavor: Flavor
    let writer: any RuleWriter
    /// The other kind of rules, to see whether it has taken over.
    private let other: any RuleWriter
    let compile: @Sendable (RedirectionPlan) -> RuleSet
    private var turns = Turns<Workload.ID>()

    /// Makes a backend; `lockFile` is the lock that legacy rules are written under.
    ///
    /// Tests that must catch a wrong compiler give one as `compile`.
    package init(
        _ flavor: Flavor, lockFile: String = XTables.lockFile, patience: Duration = .seconds(10),
        compile: @escaping @Sendable (RedirectionPlan) -> RuleSet = { RuleSet($0) }
    ) {
        self.flavor = flavor
        self.compile = compile
        mechanism = flavor.mechanism
        writer = flavor.writer(lockFile: lockFile, patience: patience)
        let other: Flavor = flavor == .nft ? .legacy : .nft
        self.other = other.writer(lockFile: lockFile, patience: patience)
    }

    /// Makes the workload's traffic follow `plan`; one that is off leaves nothing installed.
    package func apply(
        _ plan: RedirectionPlan, to workload: Workload
    ) async throws(RedirectionError) {
        try workload.refuseOwnNamespace()
        try workload.refuseCgroup(mechanism)
        if let part = plan.partRulesCannotSay {
            throw .inexpressible(part: part, mechanism: mechanism)
        }
        await begin(workload)
        defer { turns.pass(on: workload.id) }
        guard plan.isEnabled else { return try await erase(from: workload) }
        try await write(compile(plan), to: workload)
    }

    /// Waits until no other change of the workload is under way: rules and routing change together.
    private func begin(_ workload: Workload) async {
        if turns.take(workload.id) { return }
        await withCheckedContinuation { turns.wait(for: workload.id, $0) }
    }

    private func write(
        _ rules: RuleSet, to workload: Workload
    ) async throws(RedirectionError) {
        let before = try routing(in: workload.namespace)
        try matchSockets(rules, in: workload.namespace)
        do throws(RedirectionError) {
            // Before the rules that need it, and gone after those that did.
            if let routing = rules.routing { try route(routing, in: workload.namespace) }
            try await writer.write(rules, in: workload.namespace)
            if rules.routing == nil { try route(nil, in: workload.namespace) }
        } catch {
            if before != rules.routing { try? route(before, in: workload.namespace) }
            throw named(error)
        }
    }

    /// Names what the kernel lacks, where that is why it refused: of a rule of several parts it
    /// says only that something is not there.
    private func named(_ error: RedirectionError) -> RedirectionError {
        switch error {
        case .unsupported: break
        case .kernel(let cause, _) where cause.saysMissing: break
        default: return error
        }
        for report in Self.assess(flavor).features {
            if case .no(let reason) = report.answer {
                return .unsupported(feature: report.feature.name, because: reason)
            }
        }
        return error
    }

    package func remove(from workload: Workload) async throws(RedirectionError) {
        try workload.refuseOwnNamespace()
        // Of a cgroup there is nothing here, and its namespace is perhaps the machine's.
        guard workload.scope == .namespace else { return }
        await begin(workload)
        defer { turns.pass(on: workload.id) }
        try await erase(from: workload)
    }

    private func erase(from workload: Workload) async throws(RedirectionError) {
        try await writer.erase(in: workload.namespace)
        try route(nil, in: workload.namespace)
    }

    /// Redirects no new connection any more; rules and routing that established ones need stay
    /// until the last of those has ended.
    package func retire(
        from workload: Workload
    ) async throws(RedirectionError) -> Retirement {
        try workload.refuseOwnNamespace()
        await begin(workload)
        defer { turns.pass(on: workload.id) }
        let successor = Successor(
            isInstalled: try await other.installed(in: workload.namespace) != nil,
            translates: try other.translates(in: workload.namespace))
        let living = try await writer.retire(in: workload.namespace, for: successor)
        let marked = try retireRouting(in: workload.namespace)
        return living + marked == 0 ? .complete : .lingering(connections: living + marked)
    }

    /// Makes tracking fit the sockets where nothing of ours has seen to it until now.
    private func matchSockets(
        _ rules: RuleSet, in namespace: NetworkNamespace
    ) throws(RedirectionError) {
        let redirecting = rules.chains.flatMap(\.rules).filter {
            $0.action.verdict?.action.port != nil
        }
        let families = redirecting.reduce(into: Set<AddressFamily>()) { $0.formUnion($1.families) }
        guard try !families.isSubset(of: writer.translates(in: namespace)) else { return }
        let ports = redirecting.compactMap { $0.action.verdict?.action.port }
        try during("match tracked connections with sockets") { () throws(KernelError) in
            try ConnectionTracking.matchSockets(in: namespace, on: Set(ports))
        }
    }

    package func installed(
        in workload: Workload
    ) async throws(RedirectionError) -> PlanFingerprint? {
        guard let plan = try await writer.installed(in: workload.namespace) else { return nil }
        let routing = try routing(in: workload.namespace)
        return routing == plan.routing ? plan.fingerprint : nil
    }

    /// The rules that are in the kernel for the workload, as `RuleSet.listing` has a plan's.
    package func listing(in workload: Workload) async throws(RedirectionError) -> RuleListing {
        try await writer.listing(in: workload.namespace)
    }

    // MARK: Routing

    /// The routing that stands beside the workload's rules.
    nonisolated func routing(
        of workload: Workload
    ) throws(RedirectionError) -> RuleSet.Routing? {
        try routing(in: workload.namespace)
    }

    private nonisolated func routing(
        in namespace: NetworkNamespace
    ) throws(RedirectionError) -> RuleSet.Routing? {
        try during("read routing rules") { () throws(KernelError) in
            try TransparentRouting.installed(in: namespace, for: owner).map {
                RuleSet.Routing(mark: $0.mark, table: $0.table)
            }
        }
    }

    /// Whose routing it is, of this kind of rules.
    nonisolated var owner: TransparentRouting.Owner { flavor.owner }

    /// Removes the routing unless a socket's packets need it; answers how many do.
    ///
    /// A connection has the mark on both ends, the sidecar's and the application's: it counts once.
    private func retireRouting(
        in namespace: NetworkNamespace
    ) throws(RedirectionError) -> Int {
        guard let routing = try routing(in: namespace) else {
            try route(nil, in: namespace)
            return 0
        }
        let marked = try during("list sockets") { () throws(KernelError) in
            let others = TransparentRouting.Owner.allCases.filter { $0 != owner }
            for other in others {
                let same = try TransparentRouting.installed(in: namespace, for: other)
                if same?.mark == routing.mark, same?.table == routing.table { return 0 }
            }
            return try ConnectedSocket.all(in: namespace).count { $0.mark == routing.mark }
        }
        if marked == 0 { try route(nil, in: namespace) }
        return (marked + 1) / 2
    }

    private func route(
        _ routing: RuleSet.Routing?, in namespace: NetworkNamespace
    ) throws(RedirectionError) {
        try during("write routing rules") { () throws(KernelError) in
            let about = { (step: String) in ChangeLog.about(to: .routing, step) }
            guard let routing else {
                return try TransparentRouting.remove(from: namespace, for: owner, about: about)
            }
            try TransparentRouting(mark: routing.mark, table: routing.table)
                .install(in: namespace, for: owner, about: about)
        }
    }

    /// How many connections each row of the verdict table has decided since the plan was applied;
    /// for a family that is dropped, how many first segments.
    ///
    /// What is not TCP is not counted, but for name lookups that are captured: it meets none of
    /// the rules. Nor is a family that passes, where nothing of it (legacy) or of any family (nft)
    /// is redirected: without a NAT rule the kernel does not track its connections, and those are
    /// not shown to nat tables.
    package func counters(
        in workload: Workload
    ) async throws(RedirectionError) -> ReasonCounters {
        let names = Dictionary(uniqueKeysWithValues: Reason.allCases.map { ("\($0)", $0) })
        return try await writer.counters(in: workload.namespace)
            .reduce(into: ReasonCounters()) { counters, rule in
                guard let reason = names[rule.comment] else { return }
                counters[rule.chain.direction, reason] += rule.packets
            }
    }
}

extension RedirectionPlan {
    /// What in the plan no rule of either kind can say, or `nil`.
    var partRulesCannotSay: String? {
        if let part = partNothingCanSay { return part }
        let uids = ownerPortExclusions.reduce(sidecar.uids.union(excludedUIDs)) {
            $0.union($1.uids)
        }
        if uids.contains(.max) { return "uid \(UInt32.max) (Linux keeps it for \"nobody at all\")" }
        if sidecar.gids.union(excludedGIDs).contains(.max) {
            return "gid \(UInt32.max) (Linux keeps it for \"nobody at all\")"
        }
        return nil
    }
}
