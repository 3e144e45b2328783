// SPDX-License-Identifier: Apache-2.0

import RedirectionModel

/// Random plans over small worlds, so that flows meet their rules often.
enum RandomPlan {
    private static let addresses = [
        "10.0.0.2", "10.0.0.3", "10.1.2.3", "192.0.2.7", "192.0.2.8", "127.0.0.1", "127.1.2.3",
        "0.0.0.0", "::", "fd00::2", "fd00::3", "2001:db8::7", "::1", "::ffff:10.0.0.9",
    ].compactMap { IPAddress($0) }
    private static let networks = [
        "0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/30", "192.0.2.7/32", "::/0", "::/3", "fd00::/8",
        "2001:db8::/32", "2001:db8::7/128",
    ].compactMap { CIDR($0) }
    private static let ids: [UInt32] = [0, 1, 2, 1500, 1501, .max]
    private static let ports: [UInt16] = [0, 1, 53, 63, 64, 80, 443, 8080, 15001, 15003, 65535]

    static func make() -> RedirectionPlan {
        RedirectionPlan(
            isEnabled: Int.random(in: 0..<20) > 0,
            sidecar: Sidecar(
                uids: IDSet(values: some(of: ids)), gids: IDSet(values: some(of: ids).prefix(1)),
                outboundPort: 15001,
                inboundPort: 15003, ownPorts: PortSet(values: some(of: ports)),
                redirectsSelfCalls: Int.random(in: 0..<4) > 0,
                tunnelPorts: PortSet(values: some(of: ports)),
                passthroughSources: some(of: addresses)),
            families: [.ipv4: family(), .ipv6: family()],
            ownAddresses: some(of: addresses.filter { !$0.isLoopback }),
            passesOwnAddresses: Int.random(in: 0..<4) > 0, dns: dns(),
            excludedUIDs: IDSet(idRanges()), excludedGIDs: IDSet(values: some(of: ids)),
            ownerPortExclusions: (0..<Int.random(in: 0...2)).map { _ in ownerPortExclusion() },
            inboundMode: Bool.random() ? .redirect : .transparent(mark: 1, table: 1),
            outbound: selection(),
            inbound: selection())
    }

    static func flow(for plan: RedirectionPlan) -> Flow {
        let direction = Direction.allCases.randomElement() ?? .outbound
        let peer = Endpoint(
            addresses.randomElement() ?? .loopback(.ipv4), ports.randomElement() ?? 80)
        let own = plan.ownAddresses.first { $0.family == peer.address.family }
        let others = addresses.filter { $0.family == peer.address.family }
        let source = Bool.random() ? own : others.randomElement()
        let local = Endpoint(source ?? peer.address, ports.randomElement() ?? 80)
        switch direction {
        case .outbound:
            return Flow(
                .outbound, Int.random(in: 0..<5) == 0 ? .udp : .tcp, from: local, to: peer,
                owner: Owner(uid: ids.randomElement() ?? 0, gid: ids.randomElement() ?? 0))
        case .inbound:
            // Own, pass-through and loopback sources arrive on loopback, and no others do.
            let ours = plan.ownAddresses.union(plan.sidecar.passthroughSources)
            let isLocal = ours.contains(peer.address) || peer.address.isLoopback
            return Flow(
                .inbound, from: peer, to: local, interface: isLocal ? "lo" : "eth0")
        }
    }

    private static func dns() -> DNSCapture? {
        guard Bool.random() else { return nil }
        return DNSCapture(
            port: 15053, servers: Bool.random() ? nil : some(of: addresses),
            protocols: protocols())
    }

    private static func ownerPortExclusion() -> OwnerPortExclusion {
        OwnerPortExclusion(
            uids: IDSet(idRanges()), ports: PortSet(values: some(of: ports)),
            protocols: protocols())
    }

    private static func protocols() -> Set<TransportProtocol> {
        [[.udp], [.tcp], [.udp, .tcp]].randomElement() ?? []
    }

    /// Ranges between two ids, and single ones.
    private static func idRanges() -> [ClosedRange<UInt32>] {
        some(of: ids).map { id in
            let other = ids.randomElement() ?? id
            return Bool.random() ? id...id : min(id, other)...max(id, other)
        }
    }

    private static func family() -> FamilyPolicy {
        Int.random(in: 0..<4) > 0 ? .managed : FamilyPolicy.allCases.randomElement() ?? .pass
    }

    private static func selection() -> Selection {
        Selection(
            excludedPorts: PortSet(values: some(of: ports)), excludedNetworks: some(of: networks),
            includedPorts: Bool.random() ? nil : PortSet(values: some(of: ports)),
            includedNetworks: Bool.random() ? nil : some(of: networks),
            combination: Bool.random() ? .all : .any)
    }

    /// Mostly few, so that later rules are reached.
    private static func some<Element: Hashable>(of all: [Element]) -> Set<Element> {
        let count = [0, 0, 1, 1, 2, all.count].randomElement() ?? 0
        return Set(all.shuffled().prefix(Int.random(in: 0...count)))
    }
}
