// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
package import RedirectionEngine
internal import RedirectionModel

extension EBPFBackend {
    /// How often each rule has decided since the plan was applied.
    ///
    /// A decision is made once a connection, and once a captured datagram of a socket that is not
    /// connected. Empty for a workload that is not redirected.
    package func counters(
        in workload: Workload
    ) async throws(RedirectionError) -> ReasonCounters {
        let key = try key(of: workload)
        let sums = try during("read the counters of \(workload.id)") { () throws(KernelError) in
            try node.counts.sums(key)
        }
        var counters = ReasonCounters()
        guard let sums else { return counters }
        for (direction, index) in [
            (Direction.outbound, SWERVE_OUTBOUND), (.inbound, SWERVE_INBOUND),
        ] {
            let first = Int(index.rawValue * SWERVE_REASONS.rawValue)
            for reason in Reason.allCases {
                counters[direction, reason] = sums[first + Int(reason.rawValue)]
            }
        }
        return counters
    }
}
