// SPDX-License-Identifier: Apache-2.0

internal import Equivalence
internal import KernelTestSupport
internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel

/// A fresh workload among its surroundings, wired as a plan says the workload is.
struct Pod {
    let workload: Workload
    /// The workload's, with its cgroup.
    let namespace: NetworkNamespace
    private var services = Services()

    init(for plan: RedirectionPlan, in surroundings: Surroundings) throws(KernelError) {
        workload = try Workload.forTest("pod")
        namespace = try workload.inside()
        var links = try RouteNetlink.open(in: namespace)
        for name in World.interfaces {
            try connect(name, &links, surroundings.neighbor(behind: name), plan)
        }
        for family in AddressFamily.allCases {
            try links.addRoute(to: .all(family), via: World.gatewayAddresses[family])
        }
        for network in World.farNetworks {
            let gateway = network.family == .ipv6 ? linkLocalGateway : nil
            try links.addRoute(to: network, via: gateway, out: "eth1")
        }
        for source in plan.sidecar.passthroughSources where !source.isLoopback {
            try links.addAddress(source, prefixLength: 128, to: "lo")
            try namespace.waitUntilLocal(source, on: "lo")
        }
        if let guest = surroundings.guest { try connect(guest, &links, surroundings) }
    }

    // MARK: Wires

    private func connect(
        _ name: String, _ links: inout RouteNetlink, _ neighbor: Surroundings.Neighbor,
        _ plan: RedirectionPlan
    ) throws(KernelError) {
        try links.createVethPair(name, peer: "pod", in: neighbor.namespace)
        var other = try RouteNetlink.open(in: neighbor.namespace)
        for family in AddressFamily.allCases {
            let length = World.podPrefixLengths[family] ?? 0
            for address in Self.addresses(of: plan, family) {
                // The network is behind eth0; everything else is an address and no more.
                let isNetwork = name == "eth0" && World.podAddresses.has(address)
                try links.addAddress(
                    address, prefixLength: isNetwork ? length : CIDR(address).prefixLength,
                    to: name)
            }
            try other.addAddress(
                World.gatewayAddresses[family], prefixLength: length, to: "pod")
        }
        try other.addAddress(linkLocalGateway, prefixLength: 64, to: "pod")
        try links.setUp(name)
        try other.setUp("pod")
        // Asked for, the link's state is brought up to date at once, and IPv6 with it.
        _ = try links.index(of: name)
        _ = try other.index(of: "pod")
        // The addresses follow in the background, and answer nobody before.
        for address in plan.ownAddresses where address.family == .ipv6 {
            try namespace.waitUntilLocal(address, on: name)
        }
        for address in [World.gatewayAddresses.ipv6, linkLocalGateway] {
            try neighbor.namespace.waitUntilLocal(address, on: "pod")
        }
    }

    /// The pod's own addresses in the order that makes `World.podAddresses` the preferred ones:
    /// IPv4 prefers the first, IPv6 the last.
    private static func addresses(
        of plan: RedirectionPlan, _ family: AddressFamily
    ) -> [IPAddress] {
        let preferred = World.podAddresses[family]
        let others = plan.ownAddresses.filter { $0.family == family && $0 != preferred }
        return family == .ipv4 ? [preferred] + others : others + [preferred]
    }

    /// Puts a bridge between the pod and the guest.
    private func connect(
        _ guest: NetworkNamespace, _ links: inout RouteNetlink, _ surroundings: Surroundings
    ) throws(KernelError) {
        try links.createBridge(World.bridge)
        try links.createVethPair("tap0", peer: "eth0", in: guest)
        try links.setMaster("tap0", World.bridge)
        var guestLinks = try RouteNetlink.open(in: guest)
        for family in AddressFamily.allCases {
            let length = family == .ipv4 ? 24 : 64
            try links.addAddress(
                World.bridgeAddresses[family], prefixLength: length, to: World.bridge)
            try guestLinks.addAddress(
                World.guestAddresses[family], prefixLength: length, to: "eth0")
        }
        try guestLinks.setUp("eth0")
        for name in ["tap0", World.bridge] { try links.setUp(name) }
        for name in ["tap0", World.bridge] { _ = try links.index(of: name) }
        _ = try guestLinks.index(of: "eth0")
        try namespace.waitUntilLocal(World.bridgeAddresses.ipv6, on: World.bridge)
        try guest.waitUntilLocal(World.guestAddresses.ipv6)
        for family in AddressFamily.allCases {
            try guestLinks.addRoute(to: .all(family), via: World.bridgeAddresses[family])
        }
        // To pass on it must ask for neighbors, from link-local addresses it need not wait for.
        for name in World.interfaces + [World.bridge] {
            try links.addAddress(linkLocalAddress, prefixLength: 64, to: name)
            try namespace.waitUntilLocal(linkLocalAddress, on: name)
        }
        try forward()
        for network in World.guestNetworks {
            for name in World.interfaces {
                let neighbor = surroundings.neighbor(behind: name)
                var routes = try RouteNetlink.open(in: neighbor.namespace)
                try routes.addRoute(to: network, via: World.podAddresses[network.family])
            }
        }
    }

    /// Lets the pod pass on what is not for itself.
    private func forward() throws(KernelError) {
        try namespace.run { () throws(KernelError) in
            for name in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                try OwnedDescriptor.open("/proc/sys/net/\(name)", .write).write("1")
            }
        }
    }

    // MARK: Services

    /// Opens the sidecar's sockets, and the application's where a trial goes.
    mutating func serve(_ trial: Trial) throws(KernelError) {
        let sidecar = trial.plan.sidecar
        let owner = sidecar.owner
        try services.open(
            [sidecar.inboundPort], .tcp, at: .pod, in: namespace, as: owner,
            isTransparent: trial.plan.inboundMode != .redirect)
        try services.open([sidecar.outboundPort], .tcp, at: .pod, in: namespace, as: owner)
        for transport in TransportProtocol.allCases {
            if let dns = trial.plan.dns {
                try services.open([dns.port], transport, at: .pod, in: namespace, as: owner)
            }
            let ports = trial.attempts.filter { $0.flow.protocol == transport }
                .filter { World.site(of: $0.flow.destination.address, from: $0.origin) == .pod }
                .map(\.flow.destination.port)
            try services.open(ports, transport, at: .pod, in: namespace)
        }
    }

    /// Every socket of the pod that could take what is sent by `transport`.
    func services(_ transport: TransportProtocol) -> [Service] { services.all(transport) }
}

/// The pod, on any link.
private let linkLocalAddress = IPAddress(bits: 0xfe80 << 112 + 2)
/// The neighbor behind an interface, on the link alone.
private let linkLocalGateway = IPAddress(bits: 0xfe80 << 112 + 1)
