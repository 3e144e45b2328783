// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import TestedMechanisms
import Testing

/// A handshake that rules have begun, and whose answers are lost while programs take over.
@Suite(.requiresKernel) struct LostAnswerTests {
    @Test(
        .timeLimit(.minutes(2)), arguments: Subject.allCases.filter(\.isEBPF),
        AddressFamily.allCases)
    func `a SYN that comes again goes where it went before`(
        _ subject: Subject, _ family: AddressFamily
    ) async {
        await #expect(processExitsWith: .success) { [subject, family] in
            try await withTestCgroup { cgroup in
                let pod = try TestPod.create()
                let (rules, programs) = (
                    IPTablesBackend(.nft), try await subject.make(attachingTo: cgroup)
                )
                let origin = Endpoint(pod.address(family), 8080)
                let sidecar = try pod.namespace.listen(family, 15003, as: .sidecar)
                try await rules.apply(pod.plan, to: pod.workload)
                let loss = try Loss(of: pod.peer)
                let client = ClientThread(in: pod.peer, to: origin)
                client.allow(1)
                try await waitUntil { try halfOpen(pod) == 1 }
                try await programs.apply(pod.plan, to: pod.workload)
                _ = try await rules.retire(from: pod.workload)
                let asked = try loss.questions
                try await waitUntil { try loss.questions > asked }
                // Two would each answer, and whichever the client takes, the other may be sent its ACK.
                #expect(try halfOpen(pod) == 1)
                try loss.end()
                #expect(try sidecar.accept().originalDestination(family) == origin)
                #expect(try client.stop() == 1)
                for backend in [rules, programs] as [any RedirectionBackend] {
                    try await backend.remove(from: pod.workload)
                }
            }
        }
    }
}

/// How many handshakes the pod has answered that are not at their end.
private func halfOpen(_ pod: TestPod) throws -> Int {
    try ConnectedSocket.all(in: pod.namespace).count(where: \.isBeginning)
}

/// A namespace that no answer to a SYN comes into.
private struct Loss {
    private let namespace: NetworkNamespace

    init(of namespace: NetworkNamespace) throws {
        self.namespace = namespace
        _ = try nft(
            """
            table inet loss {
                chain input {
                    type filter hook input priority 0
                    tcp flags & (syn | ack) == syn | ack drop
                }
                chain output {
                    type filter hook output priority 0
                    tcp flags & (syn | ack) == syn counter
                }
            }
            """)
    }

    /// How many SYNs have left.
    var questions: Int {
        get throws {
            let words = try nft("list chain inet loss output").split(separator: " ")
            let count = words.firstIndex(of: "packets").map { words[$0 + 1] }
            return try #require(count.flatMap { Int($0) })
        }
    }

    func end() throws { _ = try nft("delete table inet loss") }

    private func nft(_ command: String) throws -> String {
        let result = try StockTool.run(["nft", command], in: namespace)
        #expect(result.status == 0, "\(result.output)")
        return result.output
    }
}
