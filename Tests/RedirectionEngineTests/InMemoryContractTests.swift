// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

@Suite struct InMemoryContractTests {
    @Test(arguments: BackendContract.allCases)
    func `a backend without a kernel keeps the contract`(_ promise: BackendContract) async throws {
        let home = try NetworkNamespace.current()
        let backend = InMemoryBackend {
            $0.outbound.excludedInterfaces.isEmpty ? $0.partNothingCanSay : "interfaces"
        }
        try await promise.check(
            backend, Workload(id: "one", namespace: home),
            beside: Workload(id: "two", namespace: home))
    }

    @Test func `what is decided is counted until the next plan`() async throws {
        let workload = Workload(id: "one", namespace: try NetworkNamespace.current())
        let backend = InMemoryBackend()
        let plan = Preset.fsm.plan(ownAddresses: [])
        let own = IPAddress(ipv4: 0x0a00_0002), other = IPAddress(ipv4: 0x0a00_0003)
        try await backend.apply(plan, to: workload)
        #expect(try await backend.counters(in: workload) == ReasonCounters())
        for direction in [Direction.outbound, .inbound, .inbound] {
            _ = await backend.verdict(
                for: Flow(direction, from: Endpoint(other, 1), to: Endpoint(own, 80)),
                in: workload)
        }
        let counters = try await backend.counters(in: workload)
        #expect(counters.rows.map(\.count) == [1, 2])
        #expect(counters[.inbound, .inbound] == 2)
        #expect(counters[.outbound] == 1)
        try await backend.apply(plan, to: workload)
        #expect(try await backend.counters(in: workload) == ReasonCounters())
    }
}
