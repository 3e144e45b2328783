// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
package import RedirectionEngine
package import RedirectionModel

extension EBPFBackend {
    /// How often each rule has decided since the workload was first redirected.
    ///
    /// A decision is made once a connection, and once a captured datagram of a socket that is not
    /// connected. Empty for a workload that is not redirected.
    package func decisions(
        in workload: Workload
    ) throws(RedirectionError) -> [Direction: [Reason: UInt64]] {
        let key = try key(of: workload)
        let sums = try during("read the counters of \(workload.id)") { () throws(KernelError) in
            try node.counts.sums(key)
        }
        guard let sums else { return [:] }
        var decisions: [Direction: [Reason: UInt64]] = [:]
        for direction in Direction.allCases {
            let first = direction.index * Int(SWERVE_REASONS.rawValue)
            for reason in Reason.allCases where sums[first + Int(reason.rawValue)] > 0 {
                decisions[direction, default: [:]][reason] = sums[first + Int(reason.rawValue)]
            }
        }
        return decisions
    }
}

extension Direction {
    /// The index of the direction in the ABI's arrays.
    fileprivate var index: Int {
        switch self {
        case .outbound: Int(SWERVE_OUTBOUND.rawValue)
        case .inbound: Int(SWERVE_INBOUND.rawValue)
        }
    }
}
