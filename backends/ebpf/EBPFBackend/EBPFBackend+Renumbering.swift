// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
internal import RedirectionEngine

/// After a switch from rules to programs, NAT keeps the connections it has redirected, and gives
/// another source port to a new one that would share theirs. The programs then know those by their
/// first sequence number; the entry of the pod says when.
extension EBPFBackend {
    /// Whether NAT may have redirected until now, or did when the programs took over.
    func mayBeRenumbered(
        _ key: UInt64, _ workload: Workload
    ) throws(KernelError) -> Bool {
        // No rules have ever redirected what is a cgroup.
        guard workload.scope == .namespace else { return false }
        guard let entry = try node.pods.lookup(key, as: swerve_pod.self) else { return true }
        return !entry.has(SWERVE_POD_ENABLED) || entry.has(SWERVE_POD_RENUMBERED)
    }

    /// Takes the flag away when NAT turns out to have no connections of the pod.
    ///
    /// Asked once the entry holds: from then on NAT gets no more of them, but for a connection that
    /// was between connect(2)'s decision and its SYN just then. Handshakes that began under the flag
    /// are known by their source all the same.
    func endRenumbering(
        _ entry: swerve_pod, _ key: UInt64, _ workload: Workload
    ) throws(KernelError) {
        guard entry.has(SWERVE_POD_RENUMBERED) else { return }
        let ports = [entry.outbound_port, entry.inbound_port, entry.dns_port]
        if try ConnectionTracking.mayRenumber(in: workload.namespace, on: Set(ports)) { return }
        var entry = entry
        entry.flags &= ~UInt32(SWERVE_POD_RENUMBERED.rawValue)
        ChangeLog.about(to: .entries, "know connections of pod \(key) by their source")
        try node.pods.update(key, entry)
    }
}
