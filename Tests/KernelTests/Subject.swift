// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel

/// The backends under test.
enum Subject: String, CaseIterable, Codable, Sendable {
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
}

/// Runs `body` with a pod that the subject redirects by the fsm preset's plan.
func withRedirectedPod(
    by subject: Subject,
    _ body: (TestPod, any RedirectionBackend) async throws -> Void
) async throws {
    try await withTestCgroup { cgroup in
        let backend = try await subject.make(attachingTo: cgroup)
        let pod = try TestPod.create()
        try await pod.redirected(by: backend) { try await body(pod, backend) }
    }
}
