// SPDX-License-Identifier: Apache-2.0

import RedirectionModel
import Testing

@Suite struct PolicyMergeTests {
    private func policy(_ say: (inout Policy) -> Void) -> Policy {
        var policy = Policy()
        say(&policy)
        return policy
    }

    @Test func `the nearer layer's word counts`() {
        let merged = Policy.merging([
            policy {
                $0.mode = .iptables; $0.families = [.ipv4: .managed, .ipv6: .drop]
            },
            policy {
                $0.mode = .ebpf; $0.preset = .istio
            },
            policy { $0.families = [.ipv6: .pass] },
            policy { $0.mode = .nft },
        ])
        #expect(merged.mode == .nft)
        #expect(merged.preset == .istio)
        #expect(merged.families == [.ipv4: .managed, .ipv6: .pass])
    }

    @Test func `exclusions add up`() throws {
        let near = try #require(CIDR("10.0.0.0/8"))
        let far = try #require(CIDR("192.0.2.0/24"))
        let byUser = OwnerPortExclusion(uids: [1], ports: [80])
        let merged = Policy.merging([
            policy {
                $0.outbound.excludedPorts = [22]
                $0.outbound.excludedNetworks = [far]
                $0.outbound.excludedPortsByUser = [byUser]
                $0.outbound.excludesDNSOverUDP = true
                $0.inbound.excludedInterfaces = ["eth1"]
            },
            policy {
                $0.outbound.excludedPorts = [23]
                $0.outbound.excludedNetworks = [near]
                $0.outbound.excludedPortsByUser = [byUser]
                $0.inbound.excludedInterfaces = ["eth2"]
            },
        ])
        #expect(merged.outbound.excludedPorts == [22, 23])
        #expect(merged.outbound.excludedNetworks == [near, far])
        #expect(merged.outbound.excludedPortsByUser == [byUser])
        #expect(merged.outbound.excludesDNSOverUDP)
        #expect(merged.inbound.excludedInterfaces == ["eth1", "eth2"])
    }

    @Test func `include lists and ids are replaced`() {
        let merged = Policy.merging([
            policy {
                $0.outbound.includedPorts = [80]; $0.sidecar.uids = [1337]
            },
            policy {
                $0.outbound.includedPorts = []; $0.sidecar.uids = [2000]
            },
        ])
        #expect(merged.outbound.includedPorts == [])
        #expect(merged.sidecar.uids == [2000])
    }

    /// A field that `overlaid` forgets would be lost on the way from a namespace to a pod.
    @Test func `every field survives a layer that says nothing, on either side`() {
        let full = policy {
            $0.preset = .kuma
            $0.mode = .legacy
            $0.sidecar.uids = [1]
            $0.sidecar.gids = [2]
            $0.sidecar.outboundPort = 3
            $0.sidecar.inboundPort = 4
            $0.sidecar.dnsPort = 5
            $0.sidecar.adminPort = 50
            $0.sidecar.controlPort = 51
            $0.sidecar.ports = [6]
            $0.sidecar.tunnelPorts = [7]
            $0.sidecar.redirectsSelfCalls = false
            $0.sidecar.passthroughSources = [IPAddress(bits: 8)]
            $0.families = [.ipv6: .drop]
            $0.dns.capture = .all
            $0.dns.protocols = [.udp]
            $0.outbound.passesOwnAddresses = false
            $0.outbound.excludedPorts = [9]
            $0.outbound.excludesDNSOverUDP = true
            $0.outbound.excludedNetworks = [.all(.ipv4)]
            $0.outbound.excludedUIDs = [10]
            $0.outbound.excludedGIDs = [11]
            $0.outbound.excludedInterfaces = ["a"]
            $0.outbound.excludedPortsByUser = [OwnerPortExclusion(uids: [12], ports: [13])]
            $0.outbound.includedPorts = [14]
            $0.outbound.includedNetworks = [.all(.ipv6)]
            $0.outbound.combination = .any
            $0.inbound.style = .transparent
            $0.inbound.mark = 15
            $0.inbound.table = 16
            $0.inbound.excludedPorts = [17]
            $0.inbound.excludedSources = [.all(.ipv6)]
            $0.inbound.excludedInterfaces = ["b"]
            $0.inbound.includedPorts = [18]
            $0.inbound.includedSources = [.all(.ipv4)]
            $0.inbound.combination = .any
            $0.virtualInterfaces = [VirtualInterface("br+")]
        }
        #expect(full.overlaid(by: Policy()) == full)
        #expect(Policy().overlaid(by: full) == full)
    }
}
