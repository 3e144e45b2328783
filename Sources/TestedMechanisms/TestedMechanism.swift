// SPDX-License-Identifier: Apache-2.0

internal import EBPFBackend
internal import FoundationEssentials
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

    /// All, or those that `SWERVE_TEST_MECHANISMS` names: an old kernel does not have each of them.
    package static let allCases: [Self] = {
        let all: [Self] = [.socketLookup, .trafficControl, .attachment, .nft, .legacy]
        let wish = ProcessInfo.processInfo.environment["SWERVE_TEST_MECHANISMS"]
        let names = wish.map { Set($0.split(separator: ",").map(String.init)) }
        return all.filter { names?.contains("\($0)") ?? true }
    }()

    /// Makes the backend; what is eBPF attaches to `cgroup`, or below it.
    package func make(attachingTo cgroup: Cgroup) async throws -> any RedirectionBackend {
        switch self {
        case .socketLookup: try await EBPFBackend.load(attachingTo: cgroup, inbound: .socketLookup)
        case .trafficControl:
            // Whoever has to go by tc has no programs that know the kernel's types either.
            try await EBPFBackend.load(
                attachingTo: cgroup, inbound: .trafficControl,
                below: FeatureCeiling(KernelVersion(6, 1)))
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

    /// Those that know a socket's owner as packet filters do, of older sockets too: by the kernel's types
    /// where they are eBPF.
    package var hasExactOwners: Bool { self != .trafficControl && self != .attachment }

    /// Those in which the kernel has no hook for getpeername(2), and nothing can be kept of a socket
    /// that is being made: the application sees the sidecar, and its owner is who connects.
    package var isOld: Bool { self == .attachment }
}
