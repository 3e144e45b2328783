// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// Random plans: valid, over the small world, most with few features so that most backends can
/// carry most of them out.
package struct PlanGenerator {
    private var random: Randomness

    package init(_ random: Randomness) { self.random = random }

    package mutating func plan() -> RedirectionPlan {
        var plan = RedirectionPlan(
            isEnabled: !random.chance(3), sidecar: sidecar(),
            families: [.ipv4: family(), .ipv6: family()],
            ownAddresses: World.podAddresses.both)
        if random.chance(25) { plan.excludedUIDs = ids() }
        if random.chance(20) { plan.excludedGIDs = ids() }
        plan.outbound = selection()
        plan.inbound = selection()
        addRareFeatures(to: &plan)
        return plan
    }

    /// What one backend or another may refuse; few at a time, for a refusal hides all the rest.
    private mutating func addRareFeatures(to plan: inout RedirectionPlan) {
        let count = random.pick(0, 0, 0, 1, 1, 1, 2, 3)
        for _ in 0..<count { addRareFeature(to: &plan) }
    }

    private mutating func addRareFeature(to plan: inout RedirectionPlan) {
        switch random.below(14) {
        case 0..<3: plan.dns = dns()
        case 3: plan.outbound.excludedInterfaces = interfaces()
        case 4: plan.inbound.excludedInterfaces = interfaces()
        case 5..<7:
            plan.ownerPortExclusions = (0...random.below(2)).map { _ in ownerPortExclusion() }
        case 7: plan.ownAddresses.formUnion(World.secondAddresses.both)
        case 8: plan.passesOwnAddresses = false
        case 9: plan.sidecar.redirectsSelfCalls = false
        case 10: plan.sidecar.tunnelPorts = ports()
        case 11: plan.sidecar.passthroughSources = World.passthroughSources.both
        case 12: plan.inboundMode = .transparent(mark: 1337, table: 133)
        default: plan.virtualInterfaces = [virtualInterface()]
        }
    }

    private mutating func sidecar() -> Sidecar {
        let inbound = random.pick(15003, 15003, 15006, UInt16(15001))
        return Sidecar(
            uids: random.chance(85) ? ids() : [], gids: random.chance(25) ? ids() : [],
            outboundPort: random.pick(15001, 15001, UInt16(15006)), inboundPort: inbound,
            ownPorts: PortSet(
                random.pick(
                    [], [15001...15001, 15010...15010, 15901...15904],
                    [15000...15010, 15902...15902], [80...80, 15010...15010])))
    }

    private mutating func family() -> FamilyPolicy {
        random.chance(92) ? .managed : random.pick(.pass, .drop)
    }

    private mutating func dns() -> DNSCapture {
        DNSCapture(
            port: random.pick(15053, 15053, UInt16(9000)),
            servers: random.chance(50) ? nil : Set(random.some(3, of: World.resolvers)),
            protocols: random.pick([.udp, .tcp], [.udp], [.tcp]))
    }

    private mutating func selection() -> Selection {
        Selection(
            excludedPorts: random.chance(25) ? ports() : [],
            excludedNetworks: random.chance(25) ? networks() : [],
            includedPorts: random.chance(20) ? somePorts() : nil,
            includedNetworks: random.chance(20) ? random.chance(10) ? [] : networks() : nil,
            combination: random.pick(.all, .any))
    }

    private mutating func somePorts() -> PortSet { random.chance(10) ? [] : ports() }

    /// A few ports and ranges, or a long list: what ends at 15 or 20 items must be seen.
    private mutating func ports() -> PortSet {
        let few = PortSet(random.chance(80) ? (0...random.below(3)).map { _ in range() } : [])
        guard random.chance(20) || few.isEmpty else { return few }
        let count = 15 + random.below(40)
        return few.union(
            PortSet(
                (0..<count).map { UInt16(1024 + 61 * $0) }.map { $0...$0 }
                    + [random.pick(from: World.ports)].map { $0...$0 }))
    }

    private mutating func range() -> ClosedRange<UInt16> {
        let one = edge()
        guard random.chance(60) else { return one...one }
        let other = edge()
        return min(one, other)...max(one, other)
    }

    /// A port flows go to, or one next to it.
    private mutating func edge() -> UInt16 {
        let port = random.pick(from: World.ports)
        return switch random.below(4) {
        case 0 where port < .max: port + 1
        case 1: port - 1
        default: port
        }
    }

    private mutating func networks() -> Set<CIDR> {
        var networks = Set(random.some(4, of: World.networks))
        if random.chance(10) {
            networks.formUnion((0..<40).map { CIDR(IPAddress(ipv4: 0x0b01_0000 + 8 * $0)) })
        }
        return networks
    }

    private mutating func ids() -> IDSet {
        IDSet(
            random.some(2, of: World.ids).map { id in
                random.chance(20) ? id...(id + UInt32(random.below(3))) : id...id
            })
    }

    private mutating func interfaces() -> Set<InterfacePattern> {
        Set(random.some(2, of: ["eth0", "eth1", "lo", "net1", "eth+", "et+"]))
    }

    private mutating func ownerPortExclusion() -> OwnerPortExclusion {
        OwnerPortExclusion(
            uids: ids().union([10_001]), ports: random.chance(50) ? ports().union([53]) : ports(),
            protocols: random.pick([.tcp, .udp], [.tcp], [.udp]))
    }

    private mutating func virtualInterface() -> VirtualInterface {
        VirtualInterface(
            random.pick("br0", "br+"),
            localNetworks: random.chance(50) ? Set(World.guestNetworks) : [])
    }
}
