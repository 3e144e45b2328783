// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import RedirectionModel
import Testing

/// A plan whose rules are kept as text under Golden/, for people to read and review.
struct GoldenPlan: Sendable, CustomTestStringConvertible {
    let name: String
    let plan: RedirectionPlan

    var testDescription: String { name }

    static let own = Set(["10.0.0.2", "fd00::2"].compactMap { IPAddress($0) })

    private init(_ name: String, _ change: (inout RedirectionPlan) -> Void = { _ in }) {
        self.name = name
        var plan = Preset.fsm.plan(ownAddresses: Self.own)
        change(&plan)
        self.plan = plan
    }

    private init(_ preset: PresetPlan) {
        name = "preset-\(preset.name)"
        plan = preset.plan(ownAddresses: Self.own)
    }

    static func networks(_ texts: String...) -> Set<CIDR> { Set(texts.compactMap { CIDR($0) }) }

    static let all: [GoldenPlan] =
        PresetPlan.all.map { GoldenPlan($0) } + [
            GoldenPlan("default"),
            GoldenPlan("everything") { plan in
                plan.sidecar.gids = [1500, 1501]
                plan.excludedUIDs = [0, 1000]
                plan.excludedGIDs = [2000]
                plan.outbound = Selection(
                    excludedPorts: [22, 6379],
                    excludedNetworks: networks("169.254.169.254", "192.168.0.0/16", "fe80::/10"),
                    excludedInterfaces: ["net1"], includedPorts: PortSet([80...81, 8000...8999]),
                    includedNetworks: networks("10.0.0.0/8", "2001:db8::/32"), combination: .all)
                plan.inbound = Selection(
                    excludedPorts: [9090], excludedNetworks: networks("10.9.0.0/16", "fd09::/16"),
                    excludedInterfaces: ["net2"], includedPorts: [80],
                    includedNetworks: networks("10.1.0.0/16"), combination: .any)
            },
            GoldenPlan("include-all") { plan in
                plan.outbound.includedPorts = [80, 443]
                plan.outbound.includedNetworks = networks("10.96.0.0/12")
            },
            GoldenPlan("include-any") { plan in
                plan.outbound.includedPorts = [80, 443]
                plan.outbound.includedNetworks = networks("10.96.0.0/12", "fd96::/16")
                plan.outbound.combination = .any
            },
            GoldenPlan("include-ports") { $0.inbound.includedPorts = [80] },
            GoldenPlan("include-nothing") { $0.outbound.includedNetworks = [] },
            GoldenPlan("ipv6-pass") { $0.families[.ipv6] = .pass },
            GoldenPlan("ipv6-drop") { $0.families[.ipv6] = .drop },
            GoldenPlan("ipv4-drop-ipv6-pass") { $0.families = [.ipv4: .drop, .ipv6: .pass] },
            GoldenPlan("many-ports") { plan in
                plan.inbound.excludedPorts = PortSet(
                    (0..<20).map { 1000 + $0 * 10...1003 + $0 * 10 })
            },
            GoldenPlan("everywhere") { plan in
                plan.outbound.excludedNetworks = networks("0.0.0.0/0")
                plan.inbound.excludedNetworks = networks("0.0.0.0/0", "::/0")
                plan.inbound.excludedPorts = PortSet([0...65535])
            },
            // Ranges that are not networks, and the two ends of the address space.
            GoldenPlan("odd-ranges") { plan in
                plan.outbound.excludedNetworks = networks(
                    "0.0.0.0/8", "10.0.0.1", "10.0.0.2/31", "10.0.0.4", "255.0.0.0/8", "::/8",
                    "ff00::/8")
                plan.outbound.excludedPorts = PortSet([0...1023, 60000...65535])
            },
            GoldenPlan("dns") { plan in
                plan.dns = DNSCapture(port: 15053)
                plan.ownerPortExclusions = [
                    OwnerPortExclusion(uids: [1337], ports: [53], protocols: [.udp])
                ]
            },
            GoldenPlan("dns-servers-drop") { plan in
                plan.dns = DNSCapture(
                    port: 15053,
                    servers: Set(["10.96.0.10", "fd96::a"].compactMap { IPAddress($0) }))
                plan.families[.ipv6] = .drop
                plan.virtualInterfaces = [VirtualInterface("br0")]
            },
            GoldenPlan("owners") { plan in
                plan.sidecar.uids = IDSet([1337...1339])
                plan.excludedGIDs = IDSet([5...10, 20...20])
                plan.ownerPortExclusions = [
                    OwnerPortExclusion(uids: IDSet([900...1000]), ports: PortSet([80...90])),
                    OwnerPortExclusion(uids: [1000], ports: [443], protocols: [.tcp]),
                ]
            },
            GoldenPlan("hand-over") { plan in
                plan.sidecar.passthroughSources = Set(
                    ["127.0.0.6", "::6"].compactMap { IPAddress($0) })
                plan.sidecar.tunnelPorts = [15008]
                plan.passesOwnAddresses = false
            },
            GoldenPlan("virtual") { plan in
                plan.virtualInterfaces = [
                    VirtualInterface("br+", localNetworks: networks("172.18.0.0/16")),
                    VirtualInterface("vm0"),
                ]
                plan.outbound.excludedPorts = [22]
                plan.inbound.excludedInterfaces = ["eth+", "net1"]
            },
            GoldenPlan("transparent") { plan in
                plan.inboundMode = .transparent(mark: 1337, table: 133)
                plan.virtualInterfaces = [VirtualInterface("br0")]
                plan.inbound.includedNetworks = networks("10.0.0.0/8", "fd00::/8")
            },
        ]
}
