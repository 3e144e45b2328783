// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
package import RedirectionEngine
package import RedirectionModel

extension EBPFBackend {
    /// What is not in the kernel as `apply` of the plan leaves it.
    package func drift(
        from plan: RedirectionPlan, in workload: Workload
    ) async throws(RedirectionError) -> [Drift] {
        let plan = rewrite(plan)
        let key = try key(of: workload)
        return try during("compare \(workload.id) with its plan") { () throws(KernelError) in
            let entry = try node.pods.lookup(key, as: swerve_pod.self)
            guard plan.isEnabled else {
                return entry == nil ? [] : [Drift(.changed, .entries, "\(key) is redirected")]
            }
            guard let entry else { return [Drift(.missing, .entries, "\(key) has no entry")] }
            let drift =
                try node.flaws() + entryDrift(entry, key, plan) + attachedDrift(key, workload)
            guard workload.scope == .namespace else { return drift }
            return try drift + inboundDrift(key, workload.namespace)
                + routingDrift(plan, workload.namespace)
        }
    }

    // MARK: Entries

    private func entryDrift(
        _ entry: swerve_pod, _ key: UInt64, _ plan: RedirectionPlan
    ) throws(KernelError) -> [Drift] {
        let wanted = MapTable(plan, inbound).entries
        let found = try node.readable.entries(of: key)
        var drift = Self.differences(wanted: wanted, found: found)
        if drift.isEmpty, entry.fingerprint != plan.fingerprint.value {
            drift.append(Drift(.changed, .entries, "swerve_pods has another plan's fingerprint"))
        }
        if try node.counts.sums(key) == nil {
            drift.append(Drift(.missing, .entries, "swerve_counts has no counters of \(key)"))
        }
        return drift
    }

    private static func differences(wanted: [MapEntry], found: [MapEntry]) -> [Drift] {
        let places = Dictionary(found.map { ("\($0.map)[\($0.key)]", $0) }) { first, _ in first }
        let missing: [Drift] = wanted.compactMap { entry in
            guard let present = places["\(entry.map)[\(entry.key)]"] else {
                return Drift(.missing, .entries, "\(entry) is gone")
            }
            guard present != entry else { return nil }
            return Drift(.changed, .entries, "\(present), where \(entry.value) should be")
        }
        let names = Set(wanted.map { "\($0.map)[\($0.key)]" })
        return missing
            + found.filter { !names.contains("\($0.map)[\($0.key)]") }
            .map { Drift(.changed, .entries, "\($0) should not be") }
    }

    // MARK: Programs

    /// What is not on the workload's own cgroup, where it is known by that.
    private func attachedDrift(
        _ key: UInt64, _ workload: Workload
    ) throws(KernelError) -> [Drift] {
        guard node.identity == .attachment || workload.scope == .cgroup else { return [] }
        let attached = try held(key, workload)?.attached
        return try node.attachedPrograms().flaws(attached, node.pins(of: key))
    }

    private func inboundDrift(
        _ key: UInt64, _ namespace: NetworkNamespace
    ) throws(KernelError) -> [Drift] {
        switch inbound {
        case .socketLookup:
            var link = installations[key]?.inbound?.link
            // Without pins, the link is this process's or nobody's.
            if link == nil { link = try node.pins(of: key).first?.openLink() }
            guard let link, try link.isAttached(to: namespace) else {
                return [Drift(.missing, .program, "swerve_sk_lookup is not attached")]
            }
            guard let pins = node.pins(of: key).first, !pins.hasLink else { return [] }
            return [Drift(.missing, .pin, "the link of swerve_sk_lookup is not pinned")]
        case .trafficControl:
            var drift: [Drift] = []
            for interface in try InboundAttachment.interfaces(in: namespace) {
                drift += try namespace.run { () throws(KernelError) in
                    try Self.filterDrift(interface.index)
                }
            }
            return drift
        }
    }

    private static func filterDrift(_ interface: UInt32) throws(KernelError) -> [Drift] {
        let hook = TrafficControlHook(interface: interface, madeQdisc: false)
        guard try hook.exists() else {
            return [Drift(.missing, .qdisc, "interface \(interface) has no clsact")]
        }
        var drift: [Drift] = []
        for slot in InboundAttachment.slots where try !hook.holdsOurs(slot) {
            drift.append(
                Drift(
                    .missing, .program,
                    "the \(slot.direction) filter of interface \(interface) is gone"))
        }
        return drift
    }
}
