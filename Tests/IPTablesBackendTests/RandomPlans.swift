// SPDX-License-Identifier: Apache-2.0

import RedirectionModel
import SeededRandom

/// Plans and flows drawn from so few values that they meet each other all the time.
struct RandomPlans {
    private var numbers: SplitMix64

    init(seed: UInt64) { numbers = SplitMix64(seed: seed) }

    private mutating func below(_ limit: Int) -> Int { Int(numbers.next() % UInt64(limit)) }

    private mutating func chance(_ percent: Int) -> Bool { below(100) < percent }

    private mutating func pick<Element>(_ values: [Element]) -> Element {
        values[below(values.count)]
    }

    private mutating func some<Element: Hashable>(_ values: [Element], _ percent: Int)
        -> Set<Element>
    {
        Set(values.filter { _ in chance(percent) })
    }

    // MARK: The small world

    private static let addresses = [
        "10.0.0.1", "10.0.0.2", "10.0.1.1", "10.128.0.1", "192.0.2.7", "127.0.0.1", "127.9.9.9",
        "0.0.0.1", "255.255.255.255", "fd00::1", "fd00::2", "fd00:0:0:1::1", "2001:db8::7", "::1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ].compactMap { IPAddress($0) }

    private static let networks = [
        "10.0.0.0/8", "10.0.0.0/24", "10.0.0.1", "10.0.0.2", "10.0.1.0/24", "0.0.0.0/0",
        "10.128.0.0/9", "192.0.2.0/28", "127.0.0.0/8", "255.255.255.255", "0.0.0.0/1",
        "fd00::/8", "fd00::/64", "fd00::1", "fd00::2", "::/0", "2001:db8::/32", "8000::/1",
    ].compactMap { CIDR($0) }

    private static let interfaces = ["lo", "eth0", "eth1", "net1", "br0", "br1"]
    private static let patterns: [InterfacePattern] = [
        "lo", "eth0", "eth1", "eth+", "net1", "br+", "br0",
    ]
    private static let ids: [UInt32] = [0, 1000, 1500, 1337]
    private static let ports: [UInt16] = [0, 22, 53, 79, 80, 81, 443, 15001, 15003, 65535]

    private mutating func ids(_ percent: Int) -> IDSet {
        let values = IDSet(values: some(Self.ids, percent))
        return chance(20) ? values.union(IDSet([1000...1400])) : values
    }

    private mutating func protocols() -> Set<TransportProtocol> {
        pick([[.udp], [.tcp], [.udp, .tcp]])
    }

    private mutating func dns() -> DNSCapture {
        DNSCapture(
            port: pick([15053, 53]), servers: chance(50) ? some(Self.addresses, 30) : nil,
            protocols: protocols())
    }

    private mutating func ownerPorts() -> [OwnerPortExclusion] {
        (0..<below(4)).map { _ in
            OwnerPortExclusion(uids: ids(40), ports: portSet(), protocols: protocols())
        }
    }

    private mutating func virtualInterfaces() -> Set<VirtualInterface> {
        Set(
            some(["br+", "br0", "br1"] as [InterfacePattern], 50).map { pattern in
                VirtualInterface(
                    pattern, localNetworks: chance(50) ? some(Self.networks, 15) : [])
            })
    }

    private mutating func portSet() -> PortSet {
        PortSet(
            (0..<below(4)).map { _ in
                let (one, other) = (pick(Self.ports), pick(Self.ports))
                return chance(70) ? one...one : min(one, other)...max(one, other)
            })
    }

    private mutating func selection() -> Selection {
        Selection(
            excludedPorts: chance(40) ? portSet() : [],
            excludedNetworks: chance(40) ? some(Self.networks, 10) : [],
            excludedInterfaces: chance(30) ? some(Self.patterns, 25) : [],
            includedPorts: chance(40) ? portSet() : nil,
            includedNetworks: chance(40) ? some(Self.networks, 20) : nil,
            combination: pick([.all, .any]))
    }

    mutating func plan() -> RedirectionPlan {
        let families = AddressFamily.allCases.filter { _ in chance(95) }
            .map { ($0, pick([.managed, .managed, .managed, .pass, FamilyPolicy.drop])) }
        let isTransparent = chance(30)
        return RedirectionPlan(
            isEnabled: chance(97),
            sidecar: Sidecar(
                uids: ids(30), gids: ids(15), outboundPort: pick([15001, 15003]),
                inboundPort: 15003, ownPorts: portSet(), redirectsSelfCalls: chance(70),
                tunnelPorts: chance(30) ? portSet() : [],
                passthroughSources: chance(30) ? some(Self.addresses, 20) : []),
            families: Dictionary(uniqueKeysWithValues: families),
            ownAddresses: some(Self.addresses, 20), passesOwnAddresses: chance(70),
            dns: chance(40) ? dns() : nil, excludedUIDs: ids(15), excludedGIDs: ids(15),
            ownerPortExclusions: chance(30) ? ownerPorts() : [],
            virtualInterfaces: chance(30) ? virtualInterfaces() : [],
            inboundMode: isTransparent ? .transparent(mark: 1, table: 1) : .redirect,
            outbound: selection(), inbound: selection())
    }

    mutating func flow() -> Flow {
        let destination = pick(Self.addresses)
        let source = pick(Self.addresses.filter { $0.family == destination.family })
        let direction = pick(Direction.allCases)
        let owner = Owner(uid: pick(Self.ids), gid: pick(Self.ids))
        return Flow(
            direction, chance(85) ? .tcp : .udp, from: Endpoint(source, 40000),
            to: Endpoint(destination, chance(20) ? 53 : pick(Self.ports)),
            owner: direction == .outbound && chance(90) ? owner : nil,
            interface: pick(Self.interfaces))
    }
}
