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
    }

    package nonisolated let mechanism: Mechanism
    private let flavor: Flavor
    private let writer: any RuleWriter
    private let compile: @Sendable (RedirectionPlan) -> RuleSet
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
        writer =
            switch flavor {
            case .nft: NFTWriter()
            case .legacy: LegacyWriter(lockFile: lockFile, patience: patience)
            }
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
        let before = try Self.routing(in: workload.namespace)
        do throws(RedirectionError) {
            // Before the rules that need it, and gone after those that did.
            if let routing = rules.routing { try Self.route(routing, in: workload.namespace) }
            try await writer.write(rules, in: workload.namespace)
            if rules.routing == nil { try Self.route(nil, in: workload.namespace) }
        } catch {
            if before != rules.routing { try? Self.route(before, in: workload.namespace) }
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
        try Self.route(nil, in: workload.namespace)
    }

    package func installed(
        in workload: Workload
    ) async throws(RedirectionError) -> PlanFingerprint? {
        guard let plan = try await writer.installed(in: workload.namespace) else { return nil }
        let routing = try Self.routing(in: workload.namespace)
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
        try Self.routing(in: workload.namespace)
    }

    private static func routing(
        in namespace: NetworkNamespace
    ) throws(RedirectionError) -> RuleSet.Routing? {
        try during("read routing rules") { () throws(KernelError) in
            try TransparentRouting.installed(in: namespace, for: .rules).map {
                RuleSet.Routing(mark: $0.mark, table: $0.table)
            }
        }
    }

    private static func route(
        _ routing: RuleSet.Routing?, in namespace: NetworkNamespace
    ) throws(RedirectionError) {
        try during("write routing rules") { () throws(KernelError) in
            guard let routing else {
                return try TransparentRouting.remove(from: namespace, for: .rules)
            }
            try TransparentRouting(mark: routing.mark, table: routing.table)
                .install(in: namespace, for: .rules)
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
