// SPDX-License-Identifier: Apache-2.0

internal import Equivalence
package import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel

/// All that is around a pod: the rest of the world behind each of its interfaces, and the machine
/// behind its bridge. Pods come and go; this stays.
package final class Surroundings {
    /// What is behind an interface of the pod.
    struct Neighbor {
        let namespace: NetworkNamespace
        let services: Services
    }

    private let near: Neighbor
    private let far: Neighbor
    let guest: NetworkNamespace

    package init() throws(KernelError) {
        near = try Self.neighbor(
            World.peerNetworks.filter { !World.farNetworks.contains($0) })
        far = try Self.neighbor(World.farNetworks)
        guest = try NetworkNamespace.create()
    }

    /// Makes a namespace that has every address of `networks` and serves every port.
    private static func neighbor(_ networks: [CIDR]) throws(KernelError) -> Neighbor {
        let namespace = try NetworkNamespace.create()
        var links = try RouteNetlink.open(in: namespace)
        for network in networks { try links.addLocalRoute(to: network) }
        var services = Services()
        for transport in TransportProtocol.allCases {
            try services.open(
                World.ports, transport, at: .peer, in: namespace, isTransparent: true)
        }
        return Neighbor(namespace: namespace, services: services)
    }

    /// The neighbor that has `address`.
    func neighbor(having address: IPAddress) -> Neighbor {
        World.interface(towards: address) == "eth1" ? far : near
    }

    func neighbor(behind interface: String) -> Neighbor { interface == "eth1" ? far : near }
}
