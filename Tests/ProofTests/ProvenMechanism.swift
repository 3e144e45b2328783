// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import IPTablesBackend
import LinuxKernel
import RedirectionEngine
import RedirectionModel

/// The mechanisms under proof.
enum ProvenMechanism: String, CaseIterable, Codable, Sendable {
    case socketLookup = "ebpf by sk_lookup"
    case trafficControl = "ebpf by tc"
    case nft
    case legacy

    /// Makes the backend; what is eBPF attaches to `cgroup`.
    func make(attachingTo cgroup: Cgroup) async throws -> any RedirectionBackend {
        switch self {
        case .socketLookup: try await EBPFBackend.load(attachingTo: cgroup, inbound: .socketLookup)
        case .trafficControl:
            try await EBPFBackend.load(attachingTo: cgroup, inbound: .trafficControl)
        case .nft: IPTablesBackend(.nft)
        case .legacy: IPTablesBackend(.legacy)
        }
    }

    /// Reasons that only plans have which the mechanism refuses.
    var unreachable: Set<Reason> {
        switch self {
        case .socketLookup, .trafficControl: [.interface]
        case .nft, .legacy: []
        }
    }
}
