// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import TestedMechanisms
import Testing

/// SO_ORIGINAL_DST is asked in many ways by real proxies; the kernel's own NAT is the judge.
@Suite(.requiresKernel) struct OriginalDestinationTests {
    static let levels = [
        Socket.Option.originalDestination4, Socket.Option.originalDestination6,
    ]
    /// haproxy asks with 16, v2ray with 20, IPv6 proxies with 28, Envoy and sslsplit with 128.
    static let lengths = [0, 15, 16, 20, 27, 28, 128, 4096]

    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases.filter(\.isEBPF))
    func `a redirected connection is answered as the kernel's NAT answers`(
        _ subject: Subject
    ) async {
        await #expect(processExitsWith: .success) { [subject] in
            let judge = try await OriginalDestinationTests.answers(under: .nft)
            // The judge must have something to say, or agreement proves nothing.
            #expect(judge.values.contains { $0.bytes.contains { $0 != 0 } })
            let answers = try await OriginalDestinationTests.answers(under: subject)
            for (question, answer) in judge {
                #expect(answers[question] == answer, "\(question)")
            }
        }
    }

    struct Question: Hashable {
        let direction: Direction
        let family: AddressFamily
        let option: Socket.Option
        let length: Int
    }

    struct Answer: Hashable {
        var errno: Errno?
        /// What was filled, cut to the sockaddr; the rest is nobody's business.
        var bytes: [UInt8] = []
        /// The length the kernel said it gave.
        var length = 0
    }

    /// Asks every question of an outbound and an inbound connection of both families.
    static func answers(under subject: Subject) async throws -> [Question: Answer] {
        var answers: [Question: Answer] = [:]
        try await withRedirectedPod(by: subject) { pod, _ in
            for family in AddressFamily.allCases {
                for direction in Direction.allCases {
                    let accepted = try connection(direction, family, pod)
                    for option in levels {
                        for length in lengths {
                            let question = Question(
                                direction: direction, family: family, option: option,
                                length: length)
                            answers[question] = ask(accepted, option, length)
                        }
                    }
                }
            }
        }
        return answers
    }

    /// The sidecar's end of a redirected connection.
    static func connection(
        _ direction: Direction, _ family: AddressFamily, _ pod: TestPod
    ) throws -> Socket {
        switch direction {
        case .outbound:
            let sidecar = try pod.namespace.listen(family, 15001, as: .sidecar)
            _ = try pod.namespace.connect(to: Endpoint(pod.peerAddress(family), 8080))
            return try sidecar.accept()
        case .inbound:
            let sidecar = try pod.namespace.listen(family, 15003, as: .sidecar)
            _ = try pod.peer.connect(to: Endpoint(pod.address(family), 8080))
            return try sidecar.accept()
        }
    }

    static func ask(_ socket: borrowing Socket, _ option: Socket.Option, _ length: Int) -> Answer {
        do throws(KernelError) {
            let bytes = try socket.value(of: option, length: length)
            let size = option == .originalDestination4 ? 16 : 28
            return Answer(bytes: Array(bytes.prefix(size)), length: bytes.count)
        } catch {
            return Answer(errno: error.errno)
        }
    }
}

/// Every other option of every process answers as if we were not there.
@Suite(.requiresKernel) struct OptionSweepTests {
    /// Whose socket is asked.
    enum Asked: Hashable, CaseIterable {
        /// The sidecar's end of a connection that was redirected to it.
        case redirected
        /// A connection inside the pod, which the plan passes.
        case passed
        /// A connection in a namespace that is no pod at all.
        case foreign
    }

    struct Question: Hashable {
        let asked: Asked
        let family: AddressFamily
        let option: Socket.Option
        let length: Int
    }

    typealias Answers = [Question: OriginalDestinationTests.Answer]

    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases.filter(\.isEBPF))
    func `no other option is touched, in value, length or error`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            // For a redirected connection the kernel's NAT is what "without us" means.
            var without = try await OptionSweepTests.sweep(nil, [.passed, .foreign])
            without.merge(try await OptionSweepTests.sweep(.nft, [.redirected])) { $1 }
            let with = try await OptionSweepTests.sweep(subject, Asked.allCases)
            #expect(without.count > 5000 && without.count == with.count)
            #expect(without.values.contains { $0.errno == nil })
            for (question, answer) in without {
                #expect(
                    with[question] == answer,
                    "\(question): \(answer), \(String(describing: with[question]))")
            }
        }
    }

    /// Asks for everything there is at the levels sockets have, with short and long buffers.
    static func sweep(_ subject: Subject?, _ asked: [Asked]) async throws -> Answers {
        var answers: Answers = [:]
        try await withTestCgroup { cgroup in
            let pod = try TestPod.create()
            let backend: (any RedirectionBackend)? =
                if let subject { try await subject.make(attachingTo: cgroup) } else { nil }
            try await backend?.apply(pod.plan, to: pod.workload)
            for asked in asked {
                for family in AddressFamily.allCases {
                    let socket = try accepted(asked, family, pod)
                    try sweep(socket, asked, family, into: &answers)
                }
            }
            try await backend?.remove(from: pod.workload)
        }
        return answers
    }

    private static func accepted(
        _ asked: Asked, _ family: AddressFamily, _ pod: TestPod
    ) throws -> Socket {
        switch asked {
        case .redirected: return try OriginalDestinationTests.connection(.outbound, family, pod)
        case .passed, .foreign:
            let namespace = asked == .passed ? pod.namespace : pod.peer
            let listener = try namespace.listen(family, 15000)
            _ = try namespace.connect(to: Endpoint(.loopback(family), 15000))
            return try listener.accept()
        }
    }

    private static func sweep(
        _ socket: borrowing Socket, _ asked: Asked, _ family: AddressFamily,
        into answers: inout Answers
    ) throws {
        for level: CInt in [0, 1, 6, 41] {
            for name in CInt(0)..<120 where !changes(level, name, asked) {
                for length in [4, 256, 5000] {
                    let option = Socket.Option(level: level, name: name)
                    let question = Question(
                        asked: asked, family: family, option: option, length: length)
                    answers[question] = answer(socket, option, length)
                }
            }
        }
    }

    private static func answer(
        _ socket: borrowing Socket, _ option: Socket.Option, _ length: Int
    ) -> OriginalDestinationTests.Answer {
        do throws(KernelError) {
            let bytes = try socket.value(of: option, length: length)
            return OriginalDestinationTests.Answer(bytes: bytes, length: bytes.count)
        } catch {
            return OriginalDestinationTests.Answer(errno: error.errno)
        }
    }

    /// What is different at each asking, or has its own test above.
    private static func changes(_ level: CInt, _ name: CInt, _ asked: Asked) -> Bool {
        switch (level, name) {
        // SO_ORIGINAL_DST.
        case (0, 80), (41, 80): true
        // IP_PROTOCOL, which tells a TCP socket's port.
        case (0, 52): true
        // SO_PEERNAME, for the client's port; SO_INCOMING_CPU, SO_MEMINFO, SO_INCOMING_NAPI_ID,
        // SO_COOKIE and SO_NETNS_COOKIE.
        case (1, 28), (1, 49), (1, 55), (1, 56), (1, 57), (1, 71): true
        // TCP_INFO, TCP_QUICKACK, TCP_TIMESTAMP, TCP_CC_INFO and TCP_ZEROCOPY_RECEIVE.
        case (6, 11), (6, 12), (6, 24), (6, 26), (6, 35): true
        // SO_SNDBUF and TCP_MAXSEG of a redirected connection: the NAT's began on another route.
        case (1, 7), (6, 2): asked == .redirected
        default: false
        }
    }
}
