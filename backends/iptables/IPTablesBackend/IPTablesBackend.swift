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
        if let part = plan.partRulesCannotSay {
            throw .inexpressible(part: part, mechanism: mechanism)
        }
        guard plan.isEnabled else { return try await remove(from: workload) }
        let rules = compile(plan)
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
                return .unsupported(feature: report.feature, because: reason)
            }
        }
        return error
    }

    package func remove(from workload: Workload) async throws(RedirectionError) {
        try workload.refuseOwnNamespace()
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
            try TransparentRouting.installed(in: namespace).map {
                RuleSet.Routing(mark: $0.mark, table: $0.table)
            }
        }
    }

    private static func route(
        _ routing: RuleSet.Routing?, in namespace: NetworkNamespace
    ) throws(RedirectionError) {
        try during("write routing rules") { () throws(KernelError) in
            guard let routing else { return try TransparentRouting.remove(from: namespace) }
            try TransparentRouting(mark: routing.mark, table: routing.table)
                .install(in: namespace)
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
        let ports = [sidecar.outboundPort, sidecar.inboundPort] + (dns.map { [$0.port] } ?? [])
        let uids = ownerPortExclusions.reduce(sidecar.uids.union(excludedUIDs)) {
            $0.union($1.uids)
        }
        if ports.contains(0) { return "a sidecar on port 0" }
        if uids.contains(.max) { return "uid \(UInt32.max) (Linux keeps it for \"nobody at all\")" }
        if sidecar.gids.union(excludedGIDs).contains(.max) {
            return "gid \(UInt32.max) (Linux keeps it for \"nobody at all\")"
        }
        if case .transparent(let mark, let table) = inboundMode {
            if mark == 0 { return "mark 0 for transparent inbound (every packet has it)" }
            if table == 0 || (253...255).contains(table) {
                return "routing table \(table) for transparent inbound (it is the system's)"
            }
        }
        return nil
    }
}
