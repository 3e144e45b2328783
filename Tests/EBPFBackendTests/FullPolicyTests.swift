// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import Testing

/// The rarer rules of the verdict table, by live traffic.
@Suite(.requiresKernel) struct FullPolicyTests {
    static func withPod(
        inbound: InboundMethod = .socketLookup, owners: OwnerMethod? = nil,
        _ change: (inout RedirectionPlan) -> Void = { _ in },
        _ body: (TestPod, EBPFBackend) async throws -> Void
    ) async throws {
        try await withTestCgroup { cgroup in
            let backend = try await EBPFBackend.load(
                attachingTo: cgroup, inbound: inbound, owners: owners)
            let pod = try TestPod.create()
            var plan = pod.plan
            change(&plan)
            try await backend.apply(plan, to: pod.workload)
            try await body(pod, backend)
            try await backend.remove(from: pod.workload)
            let counts = try await backend.occupancy()
            #expect(counts.values.allSatisfy { $0 == 0 }, "\(counts)")
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `ports are excluded for the users that were named, over a range of ids`() async {
        await #expect(processExitsWith: .success) {
            try await FullPolicyTests.withPod {
                $0.ownerPortExclusions = [
                    OwnerPortExclusion(uids: IDSet([2000...2999]), ports: PortSet([8000...8999])),
                    OwnerPortExclusion(uids: IDSet([2500...2500]), ports: [9000]),
                ]
            } _: { pod, backend in
                let sidecar = try pod.namespace.listen(.ipv4, 15001, as: .sidecar)
                let cases: [(uid: UInt32, port: UInt16, isExcluded: Bool)] = [
                    (1999, 8080, false), (2000, 8080, true), (2999, 8999, true),
                    (3000, 8080, false), (2499, 9000, false), (2500, 9000, true),
                    (2500, 8000, true), (2501, 9000, false),
                ]
                for (uid, port, isExcluded) in cases {
                    let server = try pod.peer.listen(.ipv4, port)
                    let client = try pod.namespace.connect(
                        to: Endpoint(pod.peerAddress(.ipv4), port), as: Owner(uid: uid, gid: 1))
                    let accepted = try isExcluded ? server.accept() : sidecar.accept()
                    #expect(try accepted.peerEndpoint() == client.localEndpoint(), "\(uid)")
                }
                let counters = try await backend.counters(in: pod.workload)
                #expect(counters[.outbound, .uidPort] == 4)
                #expect(counters[.outbound, .outbound] == 4)
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `what the sidecar hands on from a pass-through source reaches the application`() async {
        await #expect(processExitsWith: .success) {
            let source = IPAddress(ipv4: 0x7f00_0006)
            try await FullPolicyTests.withPod {
                $0.sidecar.passthroughSources = [source]
                $0.sidecar.tunnelPorts = [15008]
            } _: { pod, _ in
                let application = try pod.namespace.listen(.ipv4, 8080)
                let tunnel = try pod.namespace.listen(.ipv4, 15008)
                let sidecar = try pod.namespace.listen(.ipv4, 15003, as: .sidecar)
                let own = Endpoint(pod.address(.ipv4), 8080)
                let handedOn = try pod.namespace.connect(
                    to: own, as: .sidecar, from: Endpoint(source, 0))
                #expect(try application.accept().peerEndpoint() == handedOn.localEndpoint())
                let selfCall = try pod.namespace.connect(to: own, as: .sidecar)
                #expect(try sidecar.accept().peerEndpoint() == selfCall.localEndpoint())
                let tunneled = try pod.namespace.connect(
                    to: Endpoint(pod.address(.ipv4), 15008), as: .sidecar)
                #expect(try tunnel.accept().peerEndpoint() == tunneled.localEndpoint())
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `calls to oneself go the other way when the plan says so`() async {
        await #expect(processExitsWith: .success) {
            try await FullPolicyTests.withPod {
                $0.sidecar.redirectsSelfCalls = false
                $0.passesOwnAddresses = false
            } _: { pod, _ in
                for family in AddressFamily.allCases {
                    let application = try pod.namespace.listen(family, 8080)
                    let sidecar = try pod.namespace.listen(family, 15001, as: .sidecar)
                    let own = Endpoint(pod.address(family), 8080)
                    let selfCall = try pod.namespace.connect(to: own, as: .sidecar)
                    #expect(try application.accept().peerEndpoint() == selfCall.localEndpoint())
                    let redirected = try pod.namespace.connect(to: own)
                    let accepted = try sidecar.accept()
                    #expect(try accepted.peerEndpoint() == redirected.localEndpoint())
                    #expect(try accepted.originalDestination(family) == own)
                    #expect(try redirected.localEndpoint().address == own.address)
                }
            }
        }
    }

    /// Happy eyeballs: a program tries IPv6, and must find out at once that there is none.
    @Test(.timeLimit(.minutes(5)))
    func `a family in which the pod has no address is unreachable`() async {
        await #expect(processExitsWith: .success) {
            try await FullPolicyTests.withPod {
                $0.ownAddresses = $0.ownAddresses.filter { $0.family == .ipv4 }
            } _: { pod, backend in
                let destination = Endpoint(pod.peerAddress(.ipv6), 8080)
                let refusal = KernelError("connect(\(destination))", .networkUnreachable)
                #expect(throws: refusal) { _ = try pod.namespace.connect(to: destination) }
                let failures = try await backend.failures()
                #expect(failures["no source"] == 1)
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `a kernel without BTF still has the real owner of a new socket`() async {
        await #expect(processExitsWith: .success) {
            try await FullPolicyTests.withPod(owners: .realUser) { pod, backend in
                #expect(backend.ownerMethod == .realUser)
                let server = try pod.peer.listen(.ipv4, 8080)
                let client = try pod.namespace.connect(
                    to: Endpoint(pod.peerAddress(.ipv4), 8080), as: .sidecar)
                #expect(try server.accept().peerEndpoint() == client.localEndpoint())
                #expect(throws: KernelError("socket(ipv4)", .protocolNotSupported)) {
                    _ = try pod.namespace.connect(
                        to: Endpoint(pod.peerAddress(.ipv4), 8080), kind: .mptcp)
                }
                let failures = try await backend.failures()
                #expect(failures["mptcp refused"] == 1)
            }
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: InboundMethod.allCases)
    func `every decision is counted, once a connection`(_ inbound: InboundMethod) async {
        await #expect(processExitsWith: .success) { [inbound] in
            try await FullPolicyTests.withPod(inbound: inbound) {
                $0.outbound.excludedPorts = [22]
            } _: { pod, backend in
                let outbound = try pod.namespace.listen(.ipv4, 15001, as: .sidecar)
                let inboundListener = try pod.namespace.listen(.ipv4, 15003, as: .sidecar)
                let server = try pod.peer.listen(.ipv4, 22)
                for _ in 0..<3 {
                    let client = try pod.namespace.connect(
                        to: Endpoint(pod.peerAddress(.ipv4), 80))
                    let accepted = try outbound.accept()
                    for _ in 0..<20 { try client.send("not counted again") }
                    try client.finishSending()
                    _ = try accepted.receiveAll()
                }
                _ = try pod.namespace.connect(to: Endpoint(pod.peerAddress(.ipv4), 22))
                _ = try server.accept()
                _ = try pod.peer.connect(to: Endpoint(pod.address(.ipv4), 8080))
                _ = try inboundListener.accept()
                let counters = try await backend.counters(in: pod.workload)
                #expect(counters[.outbound, .outbound] == 3)
                #expect(counters[.outbound, .portExcluded] == 1)
                #expect(counters[.inbound, .inbound] == 1)
            }
        }
    }

    /// The list of ports once ended at twenty, and nobody said so.
    @Test(.timeLimit(.minutes(5)))
    func `ten thousand ranges of ports and fifty thousand networks are carried out`() async {
        await #expect(processExitsWith: .success) {
            let starts = (0..<10_000).map { UInt16($0 * 6 + 1) }
            let ports = PortSet(starts.map { $0...($0 + 2) })
            let list = (0..<50_000).map { (number: UInt32) -> CIDR? in
                CIDR(IPAddress(ipv4: 0x0b00_0000 + number << 9), prefixLength: 24)
            }
            let networks = Set(list.compactMap(\.self))
            #expect(ports.ranges.count == 10_000)
            #expect(networks.count == 50_000)
            try await FullPolicyTests.withPod {
                $0.outbound.excludedPorts = ports
                $0.outbound.excludedNetworks = networks
            } _: { pod, _ in
                let sidecar = try pod.namespace.listen(.ipv4, 15001, as: .sidecar)
                for (port, isExcluded) in [(59_994, false), (59_995, true), (59_997, true)] {
                    let server = try pod.peer.listen(.ipv4, UInt16(port))
                    let client = try pod.namespace.connect(
                        to: Endpoint(pod.peerAddress(.ipv4), UInt16(port)))
                    let accepted = try isExcluded ? server.accept() : sidecar.accept()
                    #expect(try accepted.peerEndpoint() == client.localEndpoint())
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `a plan that was rewritten is the one that is carried out`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let backend = try await EBPFBackend.load(attachingTo: cgroup) { plan in
                    var wrong = plan
                    wrong.outbound.excludedPorts = [8080]
                    return wrong
                }
                let pod = try TestPod.create()
                try await backend.apply(pod.plan, to: pod.workload)
                let server = try pod.peer.listen(.ipv4, 8080)
                let client = try pod.namespace.connect(
                    to: Endpoint(pod.peerAddress(.ipv4), 8080))
                #expect(try server.accept().peerEndpoint() == client.localEndpoint())
                try await backend.remove(from: pod.workload)
            }
        }
    }
}
