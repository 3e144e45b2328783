// SPDX-License-Identifier: Apache-2.0

import RedirectionModel

/// Every kind of flow that some mesh has a rule about.
enum FlowGrid {
    static let own: Set = [address("10.0.0.2"), address("2001:db8:1::2")]
    static let resolver = address("10.96.0.10")
    private static let others = [
        address("192.0.2.7"), resolver, address("169.254.169.254"), address("2001:db8:2::7"),
    ]
    private static let loopback = [
        address("127.0.0.1"), address("127.0.0.53"), address("127.0.0.6"), address("::1"),
    ]
    private static let ports: [UInt16] = [
        22, 53, 80, 443, 4140, 4143, 4190, 4191, 4567, 4568, 5300, 8600, 15000, 15001, 15003,
        15006, 15008, 15010, 15020, 15021, 15053, 15090, 15901, 15902, 15903, 15904, 20000,
    ]

    private static func address(_ text: String) -> IPAddress {
        guard let address = IPAddress(text) else { fatalError("\(text) is no address") }
        return address
    }

    static func flows(for preset: Preset) -> [Flow] { outbound(preset) + inbound }

    private static func outbound(_ preset: Preset) -> [Flow] {
        owners(preset).flatMap { owner in
            (others + loopback + own).flatMap { destination in
                sources(of: destination, by: owner, preset).flatMap { source in
                    endpoints(destination).map { transport, endpoint in
                        let isAtHome = destination.isLoopback || own.contains(destination)
                        return Flow(
                            .outbound, transport, from: Endpoint(source, 40_000), to: endpoint,
                            owner: owner, interface: isAtHome ? "lo" : "eth0")
                    }
                }
            }
        }
    }

    private static var inbound: [Flow] {
        ["eth0", "lo"].flatMap { interface in
            own.flatMap { destination in
                let client = others.first { $0.family == destination.family } ?? destination
                return endpoints(destination).map { transport, endpoint in
                    Flow(
                        .inbound, transport, from: Endpoint(client, 40_000), to: endpoint,
                        interface: interface)
                }
            }
        }
    }

    private static func endpoints(_ address: IPAddress) -> [(TransportProtocol, Endpoint)] {
        TransportProtocol.allCases.flatMap { transport in
            ports.map { (transport, Endpoint(address, $0)) }
        }
    }

    private static func owners(_ preset: Preset) -> [Owner] {
        var owners = [Owner(uid: 1000, gid: 1000), Owner(uid: 0, gid: 0)]
        for uid in [preset.sidecar.uids.first, preset.excludedUIDs.first].compactMap(\.self) {
            owners += [Owner(uid: uid, gid: uid), Owner(uid: uid, gid: 1000)]
        }
        return owners + (preset.sidecar.gids.first.map { [Owner(uid: 1000, gid: $0)] } ?? [])
    }

    /// The workload's own address or loopback, as the kernel would choose; for the sidecar within
    /// the workload also what it hands on from.
    private static func sources(
        of destination: IPAddress, by owner: Owner, _ preset: Preset
    ) -> [IPAddress] {
        let family = destination.family
        let usual =
            destination.isLoopback
            ? .loopback(family) : own.first { $0.family == family } ?? destination
        let isAtHome = destination.isLoopback || own.contains(destination)
        guard isAtHome, preset.sidecar.owns(owner) else { return [usual] }
        return [usual] + preset.sidecar.passthroughSources.filter { $0.family == family }.sorted()
    }
}
