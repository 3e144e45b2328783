// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import TestedMechanisms
import Testing

/// What a program in the workload can observe is the same whatever moves its traffic.
@Suite(.requiresKernel) struct RedirectionTests {
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `an application's connection lands on the sidecar, its origin with it`(
        _ subject: Subject
    ) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                for family in AddressFamily.allCases {
                    let sidecar = try pod.namespace.listen(family, 15001, as: .sidecar)
                    let origin = Endpoint(pod.peerAddress(family), 8080)
                    let client = try pod.namespace.connect(to: origin)
                    let accepted = try sidecar.accept()
                    #expect(try accepted.originalDestination(family) == origin)
                    #expect(try client.peerEndpoint() == subject.peer(of: origin, at: 15001))
                    #expect(try accepted.peerEndpoint() == client.localEndpoint())
                    #expect(try client.localEndpoint().address == pod.address(family))
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `an inbound connection lands on the sidecar, its origin with it`(
        _ subject: Subject
    ) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                for family in AddressFamily.allCases {
                    let sidecar = try pod.namespace.listen(family, 15003, as: .sidecar)
                    let origin = Endpoint(pod.address(family), 8080)
                    let client = try pod.peer.connect(to: origin)
                    let accepted = try sidecar.accept()
                    #expect(try accepted.originalDestination(family) == origin)
                    #expect(try client.peerEndpoint() == origin)
                    #expect(try accepted.peerEndpoint() == client.localEndpoint())
                    try client.send("over the sidecar")
                    try client.finishSending()
                    #expect(try accepted.receiveAll() == "over the sidecar")
                }
            }
        }
    }
}
