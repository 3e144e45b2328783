// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// The maps in words: before they are written, and read back.
@Suite struct MapTableTests {
    static func plan(_ addresses: Set<IPAddress>) -> RedirectionPlan {
        var plan = Preset.fsm.plan(ownAddresses: addresses)
        plan.outbound.excludedPorts = PortSet([22...22, 8000...8100])
        plan.outbound.excludedNetworks = Set(["10.0.0.0/8", "fd00::/8"].compactMap { CIDR($0) })
        plan.excludedUIDs = IDSet([2000...2002])
        plan.ownerPortExclusions = [OwnerPortExclusion(uids: [7], ports: [443])]
        return plan
    }

    @Test func `a plan is a table of entries`() {
        let entries = EBPFBackend.entries(of: Self.plan([IPAddress(ipv4: 0x0a4d_0002)]))
            .map(\.description)
        for line in [
            "swerve_pods[outbound-port] = 15001", "swerve_pods[own] = 10.77.0.2",
            "swerve_port_sets[out-excluded] = 22,8000-8100",
            "swerve_network_sets[10.0.0.0/8] = out-excluded",
            "swerve_network_sets[0.0.0.0/0] = nothing",
            "swerve_owners[uid 2000-2001] = excluded", "swerve_owners[uid 2002] = excluded",
            "swerve_owners[uid 7] = ports 443",
        ] {
            #expect(entries.contains(line), "\(line)")
        }
    }

    @Test func `the entry that decides is named`() throws {
        var plan = Self.plan([IPAddress(ipv4: 0x0a4d_0002)])
        func deciding(_ destination: String, uid: UInt32 = 1) throws -> [String] {
            let flow = Flow(
                .outbound, from: try #require(Endpoint("10.77.0.2:1")),
                to: try #require(Endpoint(destination)), owner: Owner(uid: uid, gid: 1))
            return EBPFBackend.deciding(flow, under: plan).map(\.description)
        }
        #expect(try deciding("10.1.2.3:80") == ["swerve_network_sets[10.0.0.0/8] = out-excluded"])
        #expect(
            try deciding("192.0.2.7:8050") == ["swerve_port_sets[out-excluded] = 22,8000-8100"])
        #expect(
            try deciding("192.0.2.7:80", uid: 2001) == ["swerve_owners[uid 2000-2001] = excluded"])
        #expect(try deciding("192.0.2.7:443", uid: 7) == ["swerve_owners[uid 7] = ports 443"])
        #expect(try deciding("192.0.2.7:80") == ["swerve_pods[outbound-port] = 15001"])
        // Within an excluded network, which was not what decided.
        #expect(try deciding("10.77.0.2:80") == ["swerve_pods[own] = 10.77.0.2"])
        plan.dns = DNSCapture(port: 15053)
        #expect(try deciding("10.1.2.3:53") == ["swerve_pods[dns-port] = 15053"])
    }

    @Test(.requiresKernel, .timeLimit(.minutes(5)))
    func `what is installed reads back as what was planned`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let backend = try await EBPFBackend.load(
                    attachingTo: cgroup, inbound: .socketLookup)
                let pod = try TestPod.create()
                let plan = MapTableTests.plan(Set(pod.addresses.values))
                try await backend.apply(plan, to: pod.workload)
                let installed = try await backend.installedEntries(in: pod.workload)
                #expect(installed == EBPFBackend.entries(of: plan))
                try await backend.remove(from: pod.workload)
                #expect(try await backend.installedEntries(in: pod.workload).isEmpty)
            }
        }
    }
}
