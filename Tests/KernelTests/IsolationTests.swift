// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import TestedMechanisms
import Testing

/// Two pods in which everything has the same name: addresses, ports, loopback.
///
/// Only their namespaces differ, and the same backend serves both.
@Suite(.requiresKernel) struct IsolationTests {
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `a sidecar gets its own pod's connections, whatever their twins do`(
        _ subject: Subject
    ) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withTwins(by: subject) { one, other in
                for family in AddressFamily.allCases {
                    let origin = Endpoint(one.peerAddress(family), 8080)
                    try check(
                        subject, Direction.outbound, one, other, to: (origin, origin),
                        from: Endpoint(one.address(family), 20_001))
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `twins that call different places are not taken for each other`(
        _ subject: Subject
    ) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withTwins(by: subject) { one, other in
                for family in AddressFamily.allCases {
                    let peer = one.peerAddress(family)
                    try check(
                        subject, Direction.outbound, one, other,
                        to: (Endpoint(peer, 8080), Endpoint(peer, 9090)),
                        from: Endpoint(one.address(family), 20_001))
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `what comes from outside reaches the sidecar of the pod it came to`(
        _ subject: Subject
    ) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withTwins(by: subject) { one, other in
                for family in AddressFamily.allCases {
                    let pod = one.address(family)
                    try check(
                        subject, Direction.inbound, one, other,
                        to: (Endpoint(pod, 8080), Endpoint(pod, 9090)),
                        from: Endpoint(one.peerAddress(family), 20_001))
                }
            }
        }
    }
}

/// Runs `body` with two pods that the same backend redirects, alike but for their namespaces.
private func withTwins(
    by subject: Subject, _ body: (TestPod, TestPod) throws -> Void
) async throws {
    try await withTestCgroup { cgroup in
        let backend = try await subject.make(attachingTo: cgroup)
        let one = try TestPod.create("one")
        let other = try TestPod.create("other")
        for pod in [one, other] { try await backend.apply(pod.plan, to: pod.workload) }
        try body(one, other)
        for pod in [one, other] { try await backend.remove(from: pod.workload) }
    }
}

/// Connects in both pods from the same `source`, before either sidecar accepts.
private func check(
    _ subject: Subject, _ direction: Direction, _ one: TestPod, _ other: TestPod,
    to origins: (Endpoint, Endpoint), from source: Endpoint
) throws {
    let family = source.address.family
    let port: UInt16 = direction == .outbound ? 15001 : 15003
    let oneSidecar = try one.namespace.listen(family, port, as: .sidecar)
    let otherSidecar = try other.namespace.listen(family, port, as: .sidecar)
    func peer(of origin: Endpoint) -> Endpoint {
        direction == .outbound ? subject.peer(of: origin, at: port) : origin
    }
    let oneClient = try connect(direction, one, to: origins.0, from: source)
    let otherClient = try connect(direction, other, to: origins.1, from: source)
    // The one that connected last is asked first.
    try checkAccepted(otherSidecar, otherClient, "other", origins.1, peer(of: origins.1))
    try checkAccepted(oneSidecar, oneClient, "one", origins.0, peer(of: origins.0))
    #expect(try !oneSidecar.descriptor.waitForInput(.zero))
    #expect(try !otherSidecar.descriptor.waitForInput(.zero))
}

/// The pod's application calls out, or its peer calls in; each says who it is.
private func connect(
    _ direction: Direction, _ pod: TestPod, to origin: Endpoint, from source: Endpoint
) throws -> Socket {
    let place = direction == .outbound ? pod.namespace : pod.peer
    let client = try place.connect(to: origin, from: source)
    // The next check uses the same source again.
    try client.resetOnClose()
    try client.send(pod.workload.id)
    return client
}

private func checkAccepted(
    _ sidecar: borrowing Socket, _ client: consuming Socket, _ name: String, _ origin: Endpoint,
    _ peer: Endpoint
) throws {
    let accepted = try sidecar.accept()
    #expect(try accepted.originalDestination(origin.address.family) == origin)
    #expect(try accepted.peerEndpoint() == client.localEndpoint())
    #expect(try client.peerEndpoint() == peer)
    try client.finishSending()
    #expect(try accepted.receiveAll() == name)
}
