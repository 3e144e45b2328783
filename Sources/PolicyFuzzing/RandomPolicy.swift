// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// Makes policies that can be written down: each says some of what there is to say.
package struct RandomPolicy {
    package var generator: SeededGenerator

    package init(_ generator: SeededGenerator) { self.generator = generator }

    package mutating func next() -> Policy {
        var policy = Policy()
        policy.preset = maybe { $0.generator.pick(Preset.Name.allCases) }
        policy.mode = maybe { $0.generator.pick(PolicyMode.allCases) }
        for family in AddressFamily.allCases {
            policy.families[family] = maybe { $0.generator.pick(FamilyPolicy.allCases) }
        }
        if generator.once(in: 2) { policy.sidecar = sidecar() }
        if generator.once(in: 2) { policy.dns = dns() }
        if generator.once(in: 2) { policy.outbound = outbound() }
        if generator.once(in: 2) { policy.inbound = inbound() }
        policy.virtualInterfaces = maybe { random in
            let one = VirtualInterface(
                random.generator.pick(["br+", "docker0"]), localNetworks: random.networks())
            return [one, VirtualInterface("k6t-eth0")]
        }
        return policy
    }

    /// Says something once in three times.
    private mutating func maybe<Value>(_ make: (inout RandomPolicy) -> Value) -> Value? {
        generator.once(in: 3) ? make(&self) : nil
    }

    private mutating func sidecar() -> SidecarPolicy {
        var sidecar = SidecarPolicy()
        sidecar.uids = maybe { $0.ids() }
        sidecar.gids = maybe { $0.ids() }
        sidecar.outboundPort = maybe { $0.port() }
        sidecar.inboundPort = maybe { $0.port() }
        sidecar.dnsPort = maybe { $0.port() }
        sidecar.adminPort = maybe { $0.port() }
        sidecar.controlPort = maybe { $0.port() }
        sidecar.ports = maybe { $0.ports() }
        sidecar.tunnelPorts = maybe { $0.ports() }
        sidecar.redirectsSelfCalls = maybe { $0.generator.once(in: 2) }
        sidecar.passthroughSources = maybe { Set($0.networks().map(\.network)) }
        return sidecar
    }

    private mutating func dns() -> DNSPolicy {
        var dns = DNSPolicy()
        dns.capture = maybe { random in
            let servers = Set(random.networks().map(\.network)).union([IPAddress(bits: 53)])
            return random.generator.pick([.off, .all, .servers(servers)])
        }
        dns.protocols = maybe { $0.generator.pick([[], [.udp], [.tcp], [.udp, .tcp]]) }
        return dns
    }

    private mutating func outbound() -> OutboundPolicy {
        var outbound = OutboundPolicy()
        outbound.passesOwnAddresses = maybe { $0.generator.once(in: 2) }
        outbound.excludedPorts = maybe { $0.ports() } ?? []
        outbound.excludesDNSOverUDP = generator.once(in: 4)
        outbound.excludedNetworks = maybe { $0.networks() } ?? []
        outbound.excludedUIDs = maybe { $0.ids() } ?? []
        outbound.excludedGIDs = maybe { $0.ids() } ?? []
        outbound.excludedInterfaces = maybe { _ in ["eth1", "tun+", "a-b.7"] } ?? []
        outbound.excludedPortsByUser =
            maybe { random in
                let ports = random.ports().union([53])
                let protocols: [Set<TransportProtocol>] = [[.tcp], [.udp], [.tcp, .udp]]
                return [
                    OwnerPortExclusion(
                        uids: random.ids().union([1]), ports: ports,
                        protocols: random.generator.pick(protocols))
                ]
            } ?? []
        outbound.includedPorts = maybe { $0.ports() }
        outbound.includedNetworks = maybe { $0.networks() }
        outbound.combination = maybe { $0.generator.pick(Combination.allCases) }
        return outbound
    }

    private mutating func inbound() -> InboundPolicy {
        var inbound = InboundPolicy()
        inbound.style = maybe { $0.generator.pick(InboundStyle.allCases) }
        inbound.mark = maybe { UInt32.random(in: 1...UInt32.max, using: &$0.generator) }
        inbound.table = maybe { UInt32.random(in: 1...260, using: &$0.generator) }
        inbound.excludedPorts = maybe { $0.ports() } ?? []
        inbound.excludedSources = maybe { $0.networks() } ?? []
        inbound.excludedInterfaces = maybe { _ in ["eth1"] } ?? []
        inbound.includedPorts = maybe { $0.ports() }
        inbound.includedSources = maybe { $0.networks() }
        inbound.combination = maybe { $0.generator.pick(Combination.allCases) }
        return inbound
    }

    private mutating func port() -> UInt16 {
        generator.pick([
            1, 53, 80, 15001, 15053, 65535, UInt16.random(in: 1...65535, using: &generator),
        ])
    }

    private mutating func ports() -> PortSet {
        PortSet(
            (0..<Int.random(in: 0...4, using: &generator)).map { _ in
                let (one, other) = (port(), port())
                return min(one, other)...(generator.once(in: 2) ? min(one, other) : max(one, other))
            })
    }

    private mutating func ids() -> IDSet {
        IDSet(
            (0..<Int.random(in: 0...3, using: &generator)).map { _ in
                let first = UInt32.random(in: 0...4_294_967_000, using: &generator)
                return first...(first + UInt32.random(in: 0...294, using: &generator))
            })
    }

    private mutating func networks() -> Set<CIDR> {
        Set(
            (0..<Int.random(in: 0...4, using: &generator)).compactMap { _ in
                let isIPv4 = generator.once(in: 2)
                let bits = UInt128(generator.next()) << 64 | UInt128(generator.next())
                let address =
                    isIPv4
                    ? IPAddress(ipv4: UInt32(truncatingIfNeeded: bits)) : IPAddress(bits: bits)
                return CIDR(
                    address,
                    prefixLength: Int.random(in: 0...(isIPv4 ? 32 : 128), using: &generator))
            })
    }
}
