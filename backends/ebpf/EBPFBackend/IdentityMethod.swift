// SPDX-License-Identifier: Apache-2.0

internal import LibBPF
internal import LinuxKernel
package import RedirectionEngine

/// How the programs know which workload a socket is of.
package enum IdentityMethod: String, Hashable, Sendable, Codable, CaseIterable {
    /// By the cookie of its network namespace: one attachment a node, Linux 5.15.
    case namespace
    /// By the cgroup the program is attached to: one attachment a workload, on any kernel.
    case attachment

    /// The best this kernel has, as far as can be found out: for what only tells of it.
    package static func preferred(below features: FeatureCeiling) -> IdentityMethod {
        (try? found(below: features)) ?? .attachment
    }

    /// The best this kernel has, found out by doing.
    ///
    /// A probe that fails for another reason is no answer: all keys go by this one.
    static func found(below features: FeatureCeiling) throws(KernelError) -> IdentityMethod {
        let hooks: [(BPFProgramType, BPFAttachType)] = [
            (.cgroupSocketAddress, .connect4), (.sockOps, .sockOps), (.cgroupSocket, .socketCreate),
        ]
        guard features.permits(KernelVersion(5, 15)) else { return .attachment }
        for (type, hook) in hooks {
            switch BPFProbe.helper(.getNetnsCookie, in: type, hook) {
            case .yes: continue
            case .no: return .attachment
            case .unknown(let error): throw error
            }
        }
        return .namespace
    }

    /// The key of the workload's plan.
    ///
    /// An inode number names a namespace or a cgroup as long as it lives; the highest bit keeps
    /// the two kinds apart.
    func key(of workload: Workload) throws(KernelError) -> UInt64 {
        if workload.scope == .cgroup, let cgroup = workload.cgroup {
            return try PodKeys.key(of: cgroup)
        }
        return switch self {
        case .namespace: try workload.namespace.cookie()
        case .attachment: workload.namespace.inode
        }
    }
}
