// SPDX-License-Identifier: Apache-2.0

import RedirectionModel
import Testing

@Suite struct FingerprintTests {
    let plan = Preset.fsm.plan(ownAddresses: [IPAddress(ipv4: 0x0a00_0002), IPAddress(bits: 7)])

    /// Written down once: a fingerprint read by another build must still mean the same plan.
    @Test func `a plan's fingerprint is the same in every process`() {
        #expect(plan.fingerprint.description == "e1b82853abb3fee6")
    }

    @Test func `every field of the plan counts`() {
        let changes: [(inout RedirectionPlan) -> Void] = [
            { $0.isEnabled = false }, { $0.sidecar.uids = [1] }, { $0.sidecar.gids = [1] },
            { $0.sidecar.outboundPort = 1 }, { $0.sidecar.inboundPort = 1 },
            { $0.sidecar.ownPorts = [1] }, { $0.families[.ipv4] = .drop },
            { $0.families[.ipv6] = .pass }, { $0.ownAddresses = [] }, { $0.excludedUIDs = [1] },
            { $0.excludedGIDs = [1] }, { $0.outbound.excludedPorts = [1] },
            { $0.outbound.excludedNetworks = [.all(.ipv4)] },
            { $0.outbound.excludedInterfaces = ["a"] }, { $0.outbound.includedPorts = [] },
            { $0.outbound.includedNetworks = [] }, { $0.outbound.combination = .any },
            { $0.sidecar.redirectsSelfCalls = false }, { $0.sidecar.tunnelPorts = [1] },
            { $0.sidecar.passthroughSources = [.loopback(.ipv4)] },
            { $0.passesOwnAddresses = false }, { $0.dns = DNSCapture(port: 1) },
            { $0.dns = DNSCapture(port: 1, servers: []) },
            { $0.dns = DNSCapture(port: 1, protocols: [.udp]) },
            { $0.ownerPortExclusions = [OwnerPortExclusion(uids: [1], ports: [1])] },
            { $0.virtualInterfaces = [VirtualInterface("br+")] },
            { $0.virtualInterfaces = [VirtualInterface("br+", localNetworks: [.all(.ipv4)])] },
            { $0.inboundMode = .transparent(mark: 1, table: 1) },
            { $0.inbound.excludedPorts = [1] }, { $0.inbound.includedPorts = [] },
        ]
        var seen: Set = [plan.fingerprint]
        for change in changes {
            var changed = plan
            change(&changed)
            #expect(seen.insert(changed.fingerprint).inserted)
        }
    }

    @Test func `a fingerprint survives its text`() {
        #expect(PlanFingerprint(plan.fingerprint.description) == plan.fingerprint)
        #expect(PlanFingerprint("7") == nil)
    }
}
