// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
package import RedirectionEngine
internal import RedirectionModel
internal import SystemPackage

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

    /// Asks again whether NAT has connections of the pod.
    package func settle(in workload: Workload) async throws(RedirectionError) {
        guard workload.scope == .namespace else { return }
        let key = try key(of: workload)
        let entry = try during("read the entry of \(workload.id)") { () throws(KernelError) in
            try node.pods.lookup(key, as: swerve_pod.self)
        }
        guard let entry, entry.has(SWERVE_POD_ENABLED) else { return }
        // As at `apply`: some kernels never say, and connections are known by number for longer.
        try? endRenumbering(entry, key, workload)
    }

    /// Takes the flag away when NAT turns out to have no connections of the pod.
    ///
    /// Asked once the entry holds: from then on NAT gets no more of them, but for a connection that
    /// was between connect(2)'s decision and its SYN just then. Handshakes that began under the flag
    /// are known by their source all the same.
    func endRenumbering(
        _ entry: swerve_pod, _ key: UInt64, _ workload: Workload
    ) throws(KernelError) {
        guard let held = try reserve(entry, key, workload), held == 0 else { return }
        var entry = entry
        entry.flags &= ~UInt32(SWERVE_POD_RENUMBERED.rawValue)
        ChangeLog.about(to: .entries, "know connections of pod \(key) by their source")
        try node.pods.update(key, entry)
    }

    /// Has the programs know, by tc, what NAT holds; returns how many connections of the pod that is, or
    /// `nil` where it has long been known that it holds none.
    func reserve(
        _ entry: swerve_pod, _ key: UInt64, _ workload: Workload
    ) throws(KernelError) -> Int? {
        guard entry.has(SWERVE_POD_RENUMBERED) else { return nil }
        let ports = [entry.outbound_port, entry.inbound_port, entry.dns_port]
        let held = try ConnectionTracking.redirected(in: workload.namespace, to: Set(ports))
        try reserve(held, entry.inbound_port, of: key)
        return held.count
    }

    /// Keeps the programs, by tc, from giving clients ports at the sidecar that NAT holds.
    ///
    /// Entries of this kind go when NAT is found without the connection; those of others are there
    /// all the while, or a client could be given the port.
    private func reserve(
        _ held: [TrackedConnection], _ port: UInt16, of pod: UInt64
    ) throws(KernelError) {
        guard inbound == .trafficControl else { return }
        var wanted: Set<[UInt32]> = []
        for connection in held where connection.reply.source.port == port {
            let (sidecar, client) = (connection.reply.source, connection.reply.destination)
            let key = swerve_flow_key(
                pod: pod, peer: swerve_addr(client.address), local: swerve_addr(sidecar.address),
                peer_port: client.port.bigEndian, port: port.bigEndian, leaving: 1)
            wanted.insert(Self.ends(of: key))
            let asked = connection.original
            let entry = swerve_flow_entry(
                expires: SWERVE_FLOW_RESERVED, peer_port: asked.source.port.bigEndian,
                port: asked.destination.port.bigEndian, pad: 0)
            do throws(KernelError) {
                try node.flows.update(key, entry, .noExist)
            } catch  where error.errno == .fileExists {
                // It is reserved, or the programs have given the port to somebody already.
            }
        }
        try removeFlows {
            $0.pod == pod && $1.expires == SWERVE_FLOW_RESERVED
                && !wanted.contains(Self.ends(of: $0))
        }
    }

    private static func ends(of key: swerve_flow_key) -> [UInt32] {
        [key.peer.word, key.local.word].flatMap { [$0.0, $0.1, $0.2, $0.3] }
            + [UInt32(key.peer_port), UInt32(key.port)]
    }
}
