// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// Plans far larger than any mesh writes: they load whole, or fail loudly.
@Suite(.requiresKernel, .timeLimit(.minutes(5)), .serialized) struct LargePlanTests {
    @Test(arguments: BackendUnderTest.all)
    func `10,000 port ranges load, and the last of them counts`(
        _ subject: BackendUnderTest
    ) async throws {
        let pod = try TestPod.create()
        var plan = pod.plan
        plan.outbound.excludedPorts = PortSet((0..<10_000).map { $0 * 6 + 1...$0 * 6 + 3 })
        #expect(plan.outbound.excludedPorts.ranges.count == 10_000)
        // The highest range is 59995-59997.
        try await check(plan, in: pod, subject, passing: 59_997, redirecting: 59_998)
    }

    @Test(arguments: BackendUnderTest.all)
    func `50,000 networks load, and the last of them counts`(
        _ subject: BackendUnderTest
    ) async throws {
        let pod = try TestPod.create()
        var plan = pod.plan
        // Every second /28 from 1.0.0.0 on, so that none touch, and the peer's own address.
        let networks = (0..<49_999).compactMap { number in
            CIDR(IPAddress(ipv4: 0x0100_0000 + UInt32(number) * 32), prefixLength: 28)
        }
        plan.outbound.excludedNetworks = Set(networks + [CIDR(pod.peerAddress(.ipv4))])
        #expect(plan.outbound.excludedNetworks.count == 50_000)
        try await subject.run(in: pod.workload) { backend, workload in
            try await backend.apply(plan, to: workload)
            #expect(try await backend.installed(in: workload) == plan.fingerprint)
            let listener = try pod.peer.listen(.ipv4, 8080)
            let client = try pod.namespace.connect(to: Endpoint(pod.peerAddress(.ipv4), 8080))
            #expect(try listener.accept().peerEndpoint() == client.localEndpoint())
            #expect(try await backend.counters(in: workload)[.cidrExcluded] == 1)
            try await backend.remove(from: workload)
            #expect(try await backend.installed(in: workload) == nil)
        }
    }

    private func check(
        _ plan: RedirectionPlan, in pod: TestPod, _ subject: BackendUnderTest, passing: UInt16,
        redirecting: UInt16
    ) async throws {
        try await subject.run(in: pod.workload) { backend, workload in
            try await backend.apply(plan, to: workload)
            #expect(try await backend.installed(in: workload) == plan.fingerprint)
            let outside = try pod.peer.listen(.ipv4, passing)
            let sidecar = try pod.namespace.listen(.ipv4, 15001, as: .sidecar)
            let server = pod.peerAddress(.ipv4)
            let passed = try pod.namespace.connect(to: Endpoint(server, passing))
            #expect(try outside.accept().peerEndpoint() == passed.localEndpoint())
            let redirected = try pod.namespace.connect(to: Endpoint(server, redirecting))
            #expect(try sidecar.accept().peerEndpoint() == redirected.localEndpoint())
        }
    }
}
