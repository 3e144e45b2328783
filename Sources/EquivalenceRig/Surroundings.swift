// SPDX-License-Identifier: Apache-2.0

internal import Equivalence
internal import LinuxKernel
internal import RedirectionModel

/// All that is around a pod: the rest of the world behind each of its interfaces, and the machine
/// behind its bridge.
///
/// It goes when it is released; the kernel takes namespaces and their wires apart in its own time,
/// many at once, which is far cheaper than waiting for each.
struct Surroundings {
    /// What is behind an interface of the pod.
    struct Neighbor {
        let namespace: NetworkNamespace
        let services: Services
    }

    private let near: Neighbor
    private let far: Neighbor
    /// What is behind the bridge; nobody, where the plan knows of none.
    let guest: NetworkNamespace?

    init(for trial: Trial) throws(KernelError) {
        near = try Self.neighbor(
            World.peerNetworks.filter { !World.farNetworks.contains($0) }, trial)
        far = try Self.neighbor(World.farNetworks, trial)
        guest = trial.plan.virtualInterfaces.isEmpty ? nil : try NetworkNamespace.create()
    }

    /// Makes a namespace that has every address of `networks` and serves every port of the trial.
    private static func neighbor(
        _ networks: [CIDR], _ trial: Trial
    ) throws(KernelError) -> Neighbor {
        let namespace = try NetworkNamespace.create()
        var links = try RouteNetlink.open(in: namespace)
        for network in networks { try links.addLocalRoute(to: network) }
        var services = Services()
        for transport in TransportProtocol.allCases {
            let ports = trial.attempts.filter { $0.flow.protocol == transport }
                .map(\.flow.destination.port)
            try services.open(ports, transport, at: .peer, in: namespace, isTransparent: true)
        }
        return Neighbor(namespace: namespace, services: services)
    }

    /// The neighbor that has `address`.
    func neighbor(having address: IPAddress) -> Neighbor {
        neighbor(behind: World.interface(towards: address))
    }

    func neighbor(behind interface: String) -> Neighbor { interface == "eth1" ? far : near }
}
