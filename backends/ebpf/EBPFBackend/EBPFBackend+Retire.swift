// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
package import RedirectionEngine
internal import RedirectionModel

extension EBPFBackend {
    /// Redirects no new connection; what established ones need stays until they have ended.
    ///
    /// What is known of a socket is with the socket, or in the place that is its own. A connection that
    /// is being made still needs the programs to meet its pod's entry, which therefore stays, switched
    /// off; one through tc needs its flow and the filters, one from a borrowed address the routing, and
    /// so does one to `::1`.
    package func retire(from workload: Workload) async throws(RedirectionError) -> Retirement {
        try refuseOurselves(workload)
        let key = try key(of: workload)
        let step = "retire the programs of \(workload.id)"
        let connections = try during(step) { () throws(KernelError) in
            try node.removeFromOlder(key)
            guard var entry = try node.pods.lookup(key, as: swerve_pod.self) else { return 0 }
            if entry.has(SWERVE_POD_ENABLED) {
                entry.flags &= ~UInt32(SWERVE_POD_ENABLED.rawValue)
                ChangeLog.about(to: .entries, "switch off pod \(key)")
                try node.pods.update(key, entry)
                // Who has read the entry as it was may begin a connection until then.
                sets.awaitReaders()
            }
            return try countConnections(inNeedOf: entry, key, workload)
        }
        guard connections == 0 else { return .lingering(connections: connections) }
        try await remove(from: workload)
        return .complete
    }

    private func countConnections(
        inNeedOf entry: swerve_pod, _ key: UInt64, _ workload: Workload
    ) throws(KernelError) -> Int {
        let handshakes = try node.handshakes.keys(as: swerve_handshake_key.self)
            .filter { $0.pod == key }
        let table = try ConnectedSocket.all(in: workload.namespace)
        // What arrives is redirected for a whole namespace alone.
        let beginning =
            workload.scope == .namespace ? table.count(where: \.isBeginning) : 0
        return try handshakes.count + offered(by: key) + beginning + liveFlows(of: key)
            + borrowing(entry, among: table)
            + (held(key, workload)?.attached == nil
                ? returning(workload, among: table) : served(entry, among: table))
    }

    /// Connections that have a place and that the sidecar has not accepted: without the pod's entry,
    /// others may have it.
    private func offered(by key: UInt64) throws(KernelError) -> Int {
        let later = SWERVE_HANDOVER_CLAIMED | SWERVE_HANDOVER_ACCEPTED
        return try node.handovers?.count(.init(withoutBits: later, second: key)) ?? 0
    }

    /// Connections to `::1`, by its end, whatever the port was: when the other end has gone, what the
    /// kernel answers in its place needs the way back (`LoopbackReturn`).
    private func returning(_ workload: Workload, among table: [ConnectedSocket]) -> Int {
        guard workload.scope == .namespace else { return 0 }
        return table.count {
            $0.local.address == .loopback(.ipv6) && !$0.remote.address.isLoopback
        }
    }

    /// Connections the sidecar has accepted: with the programs on the workload's own cgroup goes who
    /// answers what their origins are.
    private func served(_ entry: swerve_pod, among table: [ConnectedSocket]) -> Int {
        let ports = [entry.outbound_port, entry.inbound_port, entry.dns_port]
        return table.count { ports.contains($0.local.port) }
    }

    /// Connections whose ports tc rewrites, until their last packet may have come.
    private func liveFlows(of key: UInt64) throws(KernelError) -> Int {
        let now = monotonicNanoseconds()
        var count = 0
        for flow in try node.flows.keys(as: swerve_flow_key.self)
        where flow.pod == key && flow.leaving == 1 {
            guard let entry = try node.flows.lookup(flow, as: swerve_flow_entry.self) else {
                continue
            }
            let isReserved = entry.expires == SWERVE_FLOW_RESERVED
            if entry.expires == 0 || (entry.expires > now && !isReserved) { count += 1 }
        }
        return count
    }

    /// Connections from addresses that are not the pod's own, which need its routing.
    private func borrowing(
        _ entry: swerve_pod, among table: [ConnectedSocket]
    ) throws(KernelError) -> Int {
        guard entry.has(SWERVE_POD_TRANSPARENT) else { return 0 }
        let own = try node.readable.ownAddresses(of: entry)
        return table.count { !$0.local.address.isLoopback && !own.contains($0.local.address) }
    }
}
