// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// Random attempts under a plan: what its rules speak of more often than chance would have it.
package struct AttemptGenerator {
    private var random: Randomness
    private let plan: RedirectionPlan
    /// Ports where a list of the plan begins or ends.
    private let edges: [UInt16]

    package init(_ random: Randomness, for plan: RedirectionPlan) {
        self.random = random
        self.plan = plan
        edges = plan.edges
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
        let source = World.passthroughSources[address.family]
        // A bound socket that connects to the unspecified address calls its own source.
        if plan.sidecar.passthroughSources.contains(source), !address.isUnspecified,
            random.chance(60)
        {
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

    /// One of the world's ports, most often one near which a list of the plan begins or ends.
    private mutating func port() -> UInt16 {
        random.pick(from: edges.isEmpty || random.chance(50) ? World.ports : edges)
    }
}

extension RedirectionPlan {
    /// The world's ports at which, or next to which, a range of the plan begins or ends.
    fileprivate var edges: [UInt16] {
        let lists = [
            sidecar.ownPorts, sidecar.tunnelPorts, outbound.excludedPorts, inbound.excludedPorts,
            outbound.includedPorts ?? [], inbound.includedPorts ?? [],
        ]
        let ranges = (lists + ownerPortExclusions.map(\.ports)).flatMap(\.ranges)
        return World.ports.filter { port in
            ranges.contains { range in
                [range.lowerBound, range.upperBound].contains { bound in
                    max(bound, port) - min(bound, port) <= 1
                }
            }
        }
    }
}

extension Trial {
    /// The `number`th trial of the run that `seed` names.
    package init(seed: UInt64, policy number: Int, attempts count: Int = 20) {
        var random = Randomness(seed: seed, policy: number)
        var plans = PlanGenerator(Randomness(seed: random.next()))
        let plan = plans.plan()
        var attempts = AttemptGenerator(Randomness(seed: random.next()), for: plan)
        self.init(plan: plan, attempts: attempts.attempts(count))
        listensFirst = random.chance(10)
        askAgain()
    }

    /// Ends with a captured lookup and the sidecar's own, from the same port to the same server: what
    /// keeps track of connections could take the one for the other.
    private mutating func askAgain() {
        let sidecar = Owner(uid: plan.sidecar.uids.first ?? 0, gid: plan.sidecar.gids.first ?? 0)
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
