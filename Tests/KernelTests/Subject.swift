// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import RedirectionEngine
import RedirectionModel
import TestedMechanisms

/// The backends under test.
typealias Subject = TestedMechanism

extension Subject {
    /// What an application is told of its peer, having been redirected to the sidecar's `port`.
    func peer(of origin: Endpoint, at port: UInt16) -> Endpoint {
        isOld ? Endpoint(.loopback(origin.address.family), port) : origin
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
