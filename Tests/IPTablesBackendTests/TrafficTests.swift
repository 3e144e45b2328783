// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// Live connections in a pod whose plan is written as rules.
@Suite(.requiresKernel, .timeLimit(.minutes(5))) struct TrafficTests {
    static let cases = BackendUnderTest.all.flatMap { subject in
        AddressFamily.allCases.map { (subject, $0) }
    }

    /// Runs `body` in a pod that has the fsm preset's rules, or what `change` makes of them.
    private func inPod(
        _ subject: BackendUnderTest, _ change: (inout RedirectionPlan) -> Void = { _ in },
        _ body: (IPTablesBackend, TestPod) async throws -> Void
    ) async throws {
        let pod = try TestPod.create()
        var plan = pod.plan
        change(&plan)
        try await subject.run(in: pod.workload) { backend, workload in
            try await backend.apply(plan, to: workload)
            try await body(backend, pod)
        }
    }

    @Test(arguments: cases)
    func `what an application sends reaches the sidecar, which learns where it was going`(
        _ subject: BackendUnderTest, _ family: AddressFamily
    ) async throws {
        try await inPod(subject) { backend, pod in
            let sidecar = try pod.namespace.listen(family, 15001, as: .sidecar)
            let server = Endpoint(pod.peerAddress(family), 8080)
            let client = try pod.namespace.connect(to: server)
            let accepted = try sidecar.accept()
            #expect(try accepted.originalDestination(family) == server)
            #expect(try accepted.peerEndpoint() == client.localEndpoint())
            #expect(try client.localEndpoint().address == pod.address(family))
            #expect(try client.peerEndpoint() == server)
            #expect(try await backend.counters(in: pod.workload)[.outbound] == 1)
        }
    }

    @Test(arguments: cases)
    func `what the sidecar sends goes where it is sent`(
        _ subject: BackendUnderTest, _ family: AddressFamily
    ) async throws {
        try await inPod(subject) { backend, pod in
            let listener = try pod.peer.listen(family, 8080)
            let server = Endpoint(pod.peerAddress(family), 8080)
            let client = try pod.namespace.connect(to: server, as: .sidecar)
            #expect(try listener.accept().peerEndpoint() == client.localEndpoint())
            #expect(try await backend.counters(in: pod.workload)[.sidecar] == 1)
        }
    }

    @Test(arguments: cases)
    func `a sidecar that calls its own pod comes in as if from outside`(
        _ subject: BackendUnderTest, _ family: AddressFamily
    ) async throws {
        try await inPod(subject) { backend, pod in
            let inbound = try pod.namespace.listen(family, 15003, as: .sidecar)
            let itself = Endpoint(pod.address(family), 80)
            let client = try pod.namespace.connect(to: itself, as: .sidecar)
            let accepted = try inbound.accept()
            #expect(try accepted.originalDestination(family) == itself)
            #expect(try client.peerEndpoint() == itself)
            #expect(try await backend.counters(in: pod.workload)[.selfCall] == 1)
        }
    }

    @Test(arguments: cases)
    func `an application reaches its own pod and loopback without the sidecar`(
        _ subject: BackendUnderTest, _ family: AddressFamily
    ) async throws {
        try await inPod(subject) { backend, pod in
            let application = try pod.namespace.listen(family, 80)
            for address in [pod.address(family), .loopback(family)] {
                let client = try pod.namespace.connect(to: Endpoint(address, 80))
                #expect(try application.accept().peerEndpoint() == client.localEndpoint())
            }
            let sidecar = try pod.namespace.connect(
                to: Endpoint(.loopback(family), 80), as: .sidecar)
            #expect(try application.accept().peerEndpoint() == sidecar.localEndpoint())
            let counters = try await backend.counters(in: pod.workload)
            #expect(counters[.ownAddress] == 1)
            #expect(counters[.loopback] == 1)
            #expect(counters[.sidecar] == 1)
            #expect(counters[.outbound] == 0)
        }
    }

    @Test(arguments: cases)
    func `what comes from outside reaches the sidecar, and its own ports directly`(
        _ subject: BackendUnderTest, _ family: AddressFamily
    ) async throws {
        try await inPod(subject) { backend, pod in
            let inbound = try pod.namespace.listen(family, 15003, as: .sidecar)
            let service = Endpoint(pod.address(family), 80)
            let client = try pod.peer.connect(to: service)
            let accepted = try inbound.accept()
            #expect(try accepted.originalDestination(family) == service)
            #expect(try accepted.peerEndpoint() == client.localEndpoint())

            let probe = try pod.namespace.listen(family, 15901, as: .sidecar)
            let kubelet = try pod.peer.connect(to: Endpoint(pod.address(family), 15901))
            #expect(try probe.accept().peerEndpoint() == kubelet.localEndpoint())
            let counters = try await backend.counters(in: pod.workload)
            #expect(counters[.inbound] == 1)
            #expect(counters[.sidecarPort] == 1)
        }
    }

    @Test(arguments: BackendUnderTest.all)
    func `a dropped family is silent both ways, and the other one works`(
        _ subject: BackendUnderTest
    ) async throws {
        try await inPod(subject, { $0.families[.ipv6] = .drop }) { backend, pod in
            let server = try pod.peer.listen(.ipv6, 8080)
            #expect(throws: KernelError.self) {
                try hurriedConnect(in: pod.namespace, to: Endpoint(pod.peerAddress(.ipv6), 8080))
            }
            let application = try pod.namespace.listen(.ipv6, 80)
            #expect(throws: KernelError.self) {
                try hurriedConnect(in: pod.peer, to: Endpoint(pod.address(.ipv6), 80))
            }
            #expect(try !server.descriptor.waitForInput(.zero))
            #expect(try !application.descriptor.waitForInput(.zero))
            let dropped = try await backend.counters(in: pod.workload)[.family]
            #expect(dropped >= 2)

            let sidecar = try pod.namespace.listen(.ipv4, 15001, as: .sidecar)
            let client = try pod.namespace.connect(to: Endpoint(pod.peerAddress(.ipv4), 8080))
            #expect(try sidecar.accept().peerEndpoint() == client.localEndpoint())
        }
    }

    /// Connects with 300 ms of patience: nothing is to answer.
    private func hurriedConnect(in namespace: NetworkNamespace, to server: Endpoint) throws {
        try namespace.run { () throws(KernelError) in
            let socket = try Socket.open(.tcp, server.address.family, timeout: .milliseconds(300))
            try socket.connect(to: server)
        }
    }

    @Test(arguments: BackendUnderTest.all)
    func `what was excluded by its user, port, network or interface goes its own way`(
        _ subject: BackendUnderTest
    ) async throws {
        let pod = try TestPod.create()
        let server = pod.peerAddress(.ipv4)
        let ways: [(Reason, (inout RedirectionPlan) -> Void)] = [
            (.uid, { $0.excludedUIDs = [Owner.application.uid] }),
            (.gid, { $0.excludedGIDs = [Owner.application.gid] }),
            (.interface, { $0.outbound.excludedInterfaces = ["eth0"] }),
            (.cidrExcluded, { $0.outbound.excludedNetworks = [CIDR(server)] }),
            (.portExcluded, { $0.outbound.excludedPorts = PortSet([8000...8100]) }),
            (.notIncluded, { $0.outbound.includedPorts = [80] }),
            (.family, { $0.families[.ipv4] = .pass }),
        ]
        let listener = try pod.peer.listen(.ipv4, 8080)
        for (reason, change) in ways {
            var plan = pod.plan
            change(&plan)
            try await subject.run(in: pod.workload) { backend, workload in
                try await backend.apply(plan, to: workload)
                let client = try pod.namespace.connect(to: Endpoint(server, 8080))
                #expect(try listener.accept().peerEndpoint() == client.localEndpoint())
                let counters = try await backend.counters(in: workload)
                // A legacy nat table without a NAT rule turns connection tracking on for nobody,
                // and without it the kernel does not even look at the rules.
                if reason != .family || subject.flavor == .nft {
                    #expect(counters[reason] == 1, "\(reason)")
                }
                #expect(counters[.outbound] == 0, "\(reason)")
            }
        }
    }
}
