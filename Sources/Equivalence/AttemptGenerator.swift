// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// Random attempts under a plan: what its rules speak of more often than chance would have it.
package struct AttemptGenerator {
    private var random: Randomness
    private let plan: RedirectionPlan
    /// Ports that are tried whatever the plan says.
    private let ports: [UInt16]
    /// Ports where a list of the plan begins or ends.
    private let edges: [UInt16]

    package init(
        _ random: Randomness, for plan: RedirectionPlan, ports: [UInt16] = World.ports
    ) {
        self.random = random
        self.plan = plan
        self.ports = ports
        edges = plan.edges(among: ports)
    }

    package mutating func attempts(_ count: Int) -> [Attempt] { (0..<count).map { _ in attempt() } }

    private mutating func attempt() -> Attempt {
        if !plan.virtualInterfaces.isEmpty, random.chance(30) { return fromGuest() }
        return switch random.below(100) {
        case 0..<42: outbound()
        case 42..<60: toItself()
        case 60..<72: lookup()
        default: inbound()
        }
    }

    // MARK: Kinds

    private mutating func outbound() -> Attempt {
        let attempt = fromPod(
            to: random.pick(from: World.remoteAddresses), port(), random.chance(90) ? .tcp : .udp)
        return varied(attempt)
    }

    /// To loopback, or to an address of the workload's own.
    private mutating func toItself() -> Attempt {
        let own = plan.ownAddresses.sorted()
        let address =
            switch random.below(10) {
            case 0: random.pick(from: World.unspecifiedAddresses)
            case 1..<4: random.pick(from: World.loopbackAddresses)
            default: random.pick(from: own)
            }
        var attempt = fromPod(to: address, port(), random.chance(92) ? .tcp : .udp)
        let source = plan.sidecar.passthroughSources.filter { $0.family == address.family }.min()
        if let source, random.chance(60) {
            attempt.isBound = true
            attempt.flow.source.address = source
            return attempt
        }
        return varied(attempt)
    }

    /// A name lookup.
    private mutating func lookup() -> Attempt {
        let captured = plan.dns?.servers?.sorted() ?? []
        let anybody = World.resolvers + World.remoteAddresses
        let server =
            random.chance(50) && !captured.isEmpty
            ? random.pick(from: captured) : random.pick(from: anybody)
        return varied(fromPod(to: server, 53, random.chance(65) ? .udp : .tcp))
    }

    private mutating func inbound() -> Attempt {
        let source = random.pick(from: World.remoteAddresses)
        let own = plan.ownAddresses.filter { $0.family == source.family }.sorted()
        let flow = Flow(
            .inbound, random.chance(90) ? .tcp : .udp, from: Endpoint(source, 0),
            to: Endpoint(random.pick(from: own), port()),
            interface: World.interface(towards: source))
        var attempt = Attempt(flow, from: .peer)
        attempt.isBound = true
        return attempt
    }

    private mutating func fromGuest() -> Attempt {
        let family = random.pick(AddressFamily.ipv4, .ipv6)
        let near = [World.bridgeAddresses[family], World.podAddresses[family]]
        let address = random.pick(
            from: random.chance(30) ? near : World.remoteAddresses.of(family))
        let flow = Flow(
            .inbound, random.chance(85) ? .tcp : .udp,
            from: Endpoint(World.guestAddresses[family], 0),
            to: Endpoint(address, random.chance(20) ? 53 : port()), interface: World.bridge)
        return Attempt(flow, from: .guest)
    }

    // MARK: Pieces

    private mutating func fromPod(
        to address: IPAddress, _ port: UInt16, _ transport: TransportProtocol
    ) -> Attempt {
        let flow = Flow(
            .outbound, transport, from: Endpoint(Self.source(towards: address), 0),
            to: Endpoint(address, port), owner: owner(),
            interface: World.interface(towards: address))
        return Attempt(flow, from: .pod)
    }

    /// What the kernel chooses, by the pod's routes.
    static func source(towards address: IPAddress) -> IPAddress {
        if address.isLoopback || address.isUnspecified { return .loopback(address.family) }
        // A local route leads to an address from itself.
        return World.interface(towards: address) == "lo"
            ? address : World.podAddresses[address.family]
    }

    /// Other ways to do the same.
    private mutating func varied(_ attempt: Attempt) -> Attempt {
        var attempt = attempt
        let address = attempt.flow.destination.address
        attempt.isMapped = address.family == .ipv4 && random.chance(25)
        attempt.isNonBlocking = random.chance(15)
        attempt.isConnected = random.chance(50)
        if random.chance(10) { attempt.connector = owner() }
        if random.chance(15), World.interface(towards: address) != "lo" {
            attempt.isBound = true
            attempt.flow.source.address = random.pick(
                from: plan.ownAddresses.filter { $0.family == address.family }.sorted())
        }
        return attempt
    }

    /// Somebody the plan speaks of, their neighbor in number, or anybody.
    private mutating func owner() -> Owner {
        let listed =
            (plan.ownerPortExclusions.map(\.uids) + [plan.sidecar.uids, plan.excludedUIDs])
            .flatMap(\.ranges).flatMap { [$0.lowerBound, $0.upperBound, $0.upperBound + 1] }
        let groups = [plan.sidecar.gids, plan.excludedGIDs]
            .flatMap(\.ranges).flatMap { [$0.lowerBound, $0.upperBound, $0.upperBound + 1] }
        let uid = random.chance(50) ? random.pick(from: listed + [10_001]) : 10_001
        return Owner(
            uid: random.chance(20) ? random.pick(from: World.ids) : uid,
            gid: random.chance(25) ? random.pick(from: groups + World.ids) : 10_001)
    }

    /// One of the ports, most often one near which a list of the plan begins or ends.
    private mutating func port() -> UInt16 {
        random.pick(from: edges.isEmpty || random.chance(50) ? ports : edges)
    }
}

extension RedirectionPlan {
    /// Those of `ports` at which, or next to which, a range of the plan begins or ends.
    fileprivate func edges(among ports: [UInt16]) -> [UInt16] {
        let bounds = portLists.flatMap(\.ranges).flatMap { [$0.lowerBound, $0.upperBound] }
        return ports.filter { port in
            bounds.contains { max($0, port) - min($0, port) <= 1 }
        }
    }

    private var portLists: [PortSet] {
        [
            sidecar.ownPorts, sidecar.tunnelPorts, outbound.excludedPorts, inbound.excludedPorts,
            outbound.includedPorts ?? [], inbound.includedPorts ?? [],
        ] + ownerPortExclusions.map(\.ports)
    }

    /// Every port the plan speaks of, and the ports next to those.
    fileprivate var portsInQuestion: [UInt16] {
        let listening: PortSet = [sidecar.outboundPort, sidecar.inboundPort]
        let bounds = (portLists + [listening]).flatMap(\.ranges)
            .flatMap { [$0.lowerBound, $0.upperBound] }
        return Set(bounds.flatMap { [$0 &- 1, $0, $0 &+ 1] }).subtracting([0]).sorted()
    }
}

extension Sidecar {
    /// Who it runs as, the first of those that are named.
    package var owner: Owner { Owner(uid: uids.first ?? 0, gid: gids.first ?? 0) }
}

extension Trial {
    /// The `number`th trial of the run that `seed` names.
    package init(seed: UInt64, policy number: Int, attempts count: Int = 20) {
        var random = Randomness(seed: seed, policy: number)
        var plans = PlanGenerator(Randomness(seed: random.next()))
        let plan = plans.plan()
        let attempts = AttemptGenerator(Randomness(seed: random.next()), for: plan)
        self.init(attempts, count, of: plan, &random)
    }

    /// The `number`th trial of a plan that is given, at the ports it speaks of and the world's.
    package init(
        of plan: RedirectionPlan, seed: UInt64, number: Int, attempts count: Int = 20
    ) {
        var random = Randomness(seed: seed, policy: number)
        let attempts = AttemptGenerator(
            Randomness(seed: random.next()), for: plan,
            ports: World.ports + plan.portsInQuestion)
        self.init(attempts, count, of: plan, &random)
        callItself(number.isMultiple(of: 2) ? .ipv4 : .ipv6)
    }

    private init(
        _ generator: AttemptGenerator, _ count: Int, of plan: RedirectionPlan,
        _ random: inout Randomness
    ) {
        var generator = generator
        self.init(plan: plan, attempts: generator.attempts(count))
        listensFirst = random.chance(10)
        askAgain()
    }

    /// Begins with the sidecar's call to an address of the workload, which is rare by chance.
    private mutating func callItself(_ family: AddressFamily) {
        let own = plan.ownAddresses.filter { $0.family == family }.min()
        guard let own, !attempts.isEmpty else { return }
        let flow = Flow(
            .outbound, from: Endpoint(own, 0), to: Endpoint(own, 8080), owner: plan.sidecar.owner,
            interface: World.interface(towards: own))
        attempts[0] = Attempt(flow, from: .pod)
    }

    /// Ends with a captured lookup and the sidecar's own, from the same port to the same server: what
    /// keeps track of connections could take the one for the other.
    private mutating func askAgain() {
        let sidecar = plan.sidecar.owner
        let captured = attempts.first { attempt in
            let flow = attempt.flow
            return attempt.origin == .pod && flow.protocol == .udp && flow.interface != "lo"
                && plan.verdict(for: flow).reason == .dns
        }
        guard var first = captured, plan.sidecar.owns(sidecar), attempts.count > 1 else { return }
        first.isBound = true
        first.connector = nil
        first.flow.source.port = World.askingPort
        var second = first
        second.flow.owner = sidecar
        attempts.replaceSubrange((attempts.count - 2)..., with: [first, second])
    }
}
