// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import Testing

/// SO_ORIGINAL_DST is asked in many ways by real proxies; the kernel's own NAT is the judge.
@Suite(.requiresKernel) struct OriginalDestinationTests {
    static let levels = [
        Socket.Option.originalDestination4, Socket.Option.originalDestination6,
    ]
    /// haproxy asks with 16, v2ray with 20, IPv6 proxies with 28, Envoy and sslsplit with 128.
    static let lengths = [0, 15, 16, 20, 27, 28, 128, 4096]

    @Test(.timeLimit(.minutes(1)), arguments: [Subject.socketLookup, .trafficControl])
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
    struct Question: Hashable {
        let isRedirected: Bool
        let level: CInt
        let name: CInt
        let length: Int
    }

    @Test(.timeLimit(.minutes(1)))
    func `no other option is touched, in value, length or error`() async {
        await #expect(processExitsWith: .success) {
            let without = try await OptionSweepTests.sweep(attached: false)
            let with = try await OptionSweepTests.sweep(attached: true)
            #expect(without.count > 2000)
            #expect(without.values.contains { $0.errno == nil })
            for (question, answer) in without {
                #expect(
                    with[question] == answer,
                    "\(question): \(answer), \(String(describing: with[question]))")
            }
        }
    }

    /// Asks for everything there is at the levels sockets have, of a socket in the pod's
    /// namespace that the sidecar accepted, with a short and a long buffer.
    static func sweep(
        attached: Bool
    ) async throws -> [Question: OriginalDestinationTests.Answer] {
        var answers: [Question: OriginalDestinationTests.Answer] = [:]
        try await withTestCgroup { cgroup in
            let pod = try TestPod.create()
            let backend = attached ? try await Subject.socketLookup.make(attachingTo: cgroup) : nil
            try await backend?.apply(pod.plan, to: pod.workload)
            // A connection the plan passes and, in its own namespace, one of no pod at all.
            for (isRedirected, namespace) in [(true, pod.namespace), (false, pod.peer)] {
                let listener = try namespace.listen(.ipv4, 15000)
                let client = try namespace.connect(
                    to: Endpoint(.loopback(.ipv4), 15000), as: .sidecar)
                for level: CInt in [0, 1, 6, 41] {
                    for name in CInt(0)..<120 where !changes(level, name) {
                        for length in [4, 256, 5000] {
                            let question = Question(
                                isRedirected: isRedirected, level: level, name: name,
                                length: length)
                            answers[question] = answer(
                                client, Socket.Option(level: level, name: name), length)
                        }
                    }
                }
                withExtendedLifetime(listener.rawDescriptor) {}
            }
            try await backend?.remove(from: pod.workload)
        }
        return answers
    }

    static func answer(
        _ socket: borrowing Socket, _ option: Socket.Option, _ length: Int
    ) -> OriginalDestinationTests.Answer {
        do throws(KernelError) {
            let bytes = try socket.value(of: option, length: length)
            return OriginalDestinationTests.Answer(bytes: bytes, length: bytes.count)
        } catch {
            return OriginalDestinationTests.Answer(errno: error.errno)
        }
    }

    /// Options whose value is a time, a counter or an identity, different at each asking.
    static func changes(_ level: CInt, _ name: CInt) -> Bool {
        switch (level, name) {
        // IP_PROTOCOL, which tells a TCP socket's port.
        case (0, 52): true
        // SO_INCOMING_CPU, SO_MEMINFO, SO_INCOMING_NAPI_ID, SO_COOKIE and SO_NETNS_COOKIE.
        case (1, 49), (1, 55), (1, 56), (1, 57), (1, 71): true
        // TCP_INFO, TCP_TIMESTAMP, TCP_CC_INFO, TCP_ULP and TCP_ZEROCOPY_RECEIVE.
        case (6, 11), (6, 24), (6, 26), (6, 35): true
        default: false
        }
    }
}
