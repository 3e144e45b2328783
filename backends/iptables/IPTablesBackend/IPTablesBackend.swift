// SPDX-License-Identifier: Apache-2.0

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
    }

    package nonisolated let mechanism: Mechanism
    private let writer: any RuleWriter

    /// Makes a backend; `lockFile` is the lock that legacy rules are written under.
    package init(
        _ flavor: Flavor, lockFile: String = XTables.lockFile, patience: Duration = .seconds(10)
    ) {
        switch flavor {
        case .nft:
            mechanism = .nft
            writer = NFTWriter()
        case .legacy:
            mechanism = .legacy
            writer = LegacyWriter(lockFile: lockFile, patience: patience)
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
        try await writer.write(RuleSet(plan), in: workload.namespace)
    }

    package func remove(from workload: Workload) async throws(RedirectionError) {
        try workload.refuseOwnNamespace()
        try await writer.erase(in: workload.namespace)
    }

    package func installed(
        in workload: Workload
    ) async throws(RedirectionError) -> PlanFingerprint? {
        try await writer.installed(in: workload.namespace)
    }

    /// How many connections each rule of the verdict table has decided since the plan was
    /// applied; for a family that is dropped, how many first segments.
    ///
    /// What is not TCP is not counted: it meets none of the rules. Nor, in legacy tables, is a
    /// family that passes: without a NAT rule the kernel does not track its connections, and
    /// connections that are not tracked are not shown to nat tables.
    package func counters(
        in workload: Workload
    ) async throws(RedirectionError) -> [Reason: UInt64] {
        let names = Dictionary(uniqueKeysWithValues: Reason.allCases.map { ("\($0)", $0) })
        return try await writer.counters(in: workload.namespace)
            .reduce(into: [:]) { counters, rule in
                guard let reason = names[rule.comment] else { return }
                counters[reason, default: 0] += rule.packets
            }
    }
}

extension RedirectionPlan {
    /// What in the plan no rule of either kind can say, or `nil`.
    var partRulesCannotSay: String? {
        let ids = sidecar.uids.union(excludedUIDs), groups = sidecar.gids.union(excludedGIDs)
        let names = outbound.excludedInterfaces.union(inbound.excludedInterfaces)
        if sidecar.outboundPort == 0 || sidecar.inboundPort == 0 { return "a sidecar on port 0" }
        if dns != nil { return "DNS capture" }
        if inboundMode != .redirect { return "transparent inbound" }
        if !virtualInterfaces.isEmpty { return "a virtual interface" }
        if !ownerPortExclusions.isEmpty { return "ports excluded for a user" }
        if !sidecar.passthroughSources.isEmpty { return "a pass-through source" }
        if !sidecar.redirectsSelfCalls || !passesOwnAddresses || !sidecar.tunnelPorts.isEmpty {
            return "other rules for calls to oneself"
        }
        if names.contains(where: \.isPrefix) { return "an interface by the start of its name" }
        if ids.union(groups).ranges.contains(where: { $0.count > 1 }) { return "a range of ids" }
        if ids.contains(.max) { return "uid \(UInt32.max) (Linux keeps it for \"nobody at all\")" }
        if groups.contains(.max) {
            return "gid \(UInt32.max) (Linux keeps it for \"nobody at all\")"
        }
        return nil
    }
}
