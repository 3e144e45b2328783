// SPDX-License-Identifier: Apache-2.0

internal import EBPFBackend
internal import IPTablesBackend
package import LinuxKernel
package import RedirectionEngine

/// The mechanisms under test, in all the ways they can be had.
package enum TestedMechanism: String, CaseIterable, Codable, Sendable {
    case socketLookup = "ebpf by sk_lookup"
    case trafficControl = "ebpf by tc"
    case attachment = "ebpf as on Linux 5.4"
    case nft
    case legacy

    /// Makes the backend; what is eBPF attaches to `cgroup`, or below it.
    package func make(attachingTo cgroup: Cgroup) async throws -> any RedirectionBackend {
        switch self {
        case .socketLookup: try await EBPFBackend.load(attachingTo: cgroup, inbound: .socketLookup)
        case .trafficControl:
            try await EBPFBackend.load(attachingTo: cgroup, inbound: .trafficControl)
        case .attachment:
            try await EBPFBackend.load(
                attachingTo: cgroup, below: FeatureCeiling(KernelVersion(5, 4)))
        case .nft: IPTablesBackend(.nft)
        case .legacy: IPTablesBackend(.legacy)
        }
    }

    package var isEBPF: Bool {
        switch self {
        case .socketLookup, .trafficControl, .attachment: true
        case .nft, .legacy: false
        }
    }

    /// Those in which the kernel has no hook for getpeername(2), and nothing can be kept of a socket
    /// that is being made: the application sees the sidecar, and its owner is who connects.
    package var isOld: Bool { self == .attachment }
}
