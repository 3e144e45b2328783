// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel

/// What a pod's namespace needs beside the programs, so that packets between application and sidecar
/// stay in it. A workload that is a cgroup gets none: its namespace may be the machine's.
extension EBPFBackend {
    /// The way back to a sidecar on `::1`, for all connections; that by mark where inbound is
    /// transparent.
    func installRouting(
        _ plan: RedirectionPlan, in workload: Workload
    ) throws(KernelError) {
        guard workload.scope == .namespace else { return }
        try LoopbackReturn.install(in: workload.namespace, for: plan.ownAddresses) {
            ChangeLog.about(to: .routing, "\($0) in \(workload.id)")
        }
        try installMarks(plan.transparentRouting, in: workload)
    }

    private func installMarks(
        _ routing: TransparentRouting?, in workload: Workload
    ) throws(KernelError) {
        guard let routing else { return }
        ChangeLog.about(to: .routing, "route mark \(routing.mark) in \(workload.id)")
        try routing.install(in: workload.namespace, for: .programs)
    }

    /// Puts back the routing of the replaced plan; none when there was none.
    func restoreRouting(_ old: Installation?, in workload: Workload) {
        guard workload.scope == .namespace else { return }
        // What cannot be put back now is what the next apply or remove looks for.
        if let routing = old?.routing {
            try? installMarks(routing, in: workload)
        } else {
            try? removeMarks(from: workload)
        }
        if old?.set == nil { try? removeReturn(from: workload) }
    }

    /// Removes what the plan that now holds has no need of.
    func settleRouting(_ plan: RedirectionPlan, in workload: Workload) {
        guard workload.scope == .namespace else { return }
        if plan.transparentRouting == nil { try? removeMarks(from: workload) }
        try? removeReturn(from: workload, sparing: plan.ownAddresses)
    }

    func removeRouting(from workload: Workload) throws(KernelError) {
        guard workload.scope == .namespace else { return }
        try removeMarks(from: workload)
        try removeReturn(from: workload)
    }

    private func removeMarks(from workload: Workload) throws(KernelError) {
        ChangeLog.about(to: .routing, "remove the programs' routing from \(workload.id)")
        try TransparentRouting.remove(from: workload.namespace, for: .programs)
    }

    private func removeReturn(
        from workload: Workload, sparing spared: Set<IPAddress> = []
    ) throws(KernelError) {
        try LoopbackReturn.remove(from: workload.namespace, sparing: spared) {
            ChangeLog.about(to: .routing, "\($0) in \(workload.id)")
        }
    }

    /// What of the routing is not as `apply` of the plan leaves it.
    func routingDrift(
        _ plan: RedirectionPlan, _ namespace: NetworkNamespace
    ) throws(KernelError) -> [Drift] {
        var drift = try LoopbackReturn.missing(in: namespace, for: plan.ownAddresses)
            .map { Drift(.missing, .routing, $0) }
        let found = try TransparentRouting.installed(in: namespace, for: .programs)
        if found != plan.transparentRouting { drift.append(marksDrift(plan, found)) }
        return drift
    }

    private func marksDrift(_ plan: RedirectionPlan, _ found: TransparentRouting?) -> Drift {
        guard let wanted = plan.transparentRouting else {
            return Drift(.changed, .routing, "there is routing that the plan does not need")
        }
        return Drift(
            found == nil ? .missing : .changed, .routing,
            "mark \(wanted.mark) is not routed by table \(wanted.table)")
    }
}
