// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// Name lookups in a pod that asks two resolvers, both on the host beside it.
@Suite(.requiresKernel, .timeLimit(.minutes(5))) struct LookupTests {
    static let cases = TrafficTests.cases

    private struct Scene {
        let pod: TestPod
        let second: [AddressFamily: IPAddress]

        init() throws {
            pod = try TestPod.create()
            second = [
                .ipv4: IPAddress(ipv4: pod.peerAddress(.ipv4).ipv4 + 8),
                .ipv6: IPAddress(bits: pod.peerAddress(.ipv6).bits + 8),
            ]
            var links = try RouteNetlink.open(in: pod.peer)
            for (family, address) in second {
                try links.addAddress(
                    address, prefixLength: family == .ipv4 ? 24 : 112, to: "eth0")
            }
        }

        /// Both resolvers of the family.
        func servers(_ family: AddressFamily) -> [Endpoint] {
            [pod.peerAddress(family), second[family]].compactMap { $0 }.map { Endpoint($0, 53) }
        }

        var plan: RedirectionPlan {
            var plan = pod.plan
            plan.dns = DNSCapture(port: 15053)
            return plan
        }

        /// A socket that answers the lookups of an address, which it is bound to: one for all
        /// addresses would answer from whichever the kernel likes.
        func resolver(_ address: Endpoint, in namespace: NetworkNamespace) throws -> Socket {
            try socket(address.address.family, from: address, in: namespace, as: .root)
        }

        /// The sidecar's, at the address that captured lookups go to.
        func sidecar(_ family: AddressFamily) throws -> Socket {
            try socket(
                family, from: Endpoint(.loopback(family), 15053), in: pod.namespace, as: .sidecar)
        }

        func socket(
            _ family: AddressFamily, from source: Endpoint? = nil, in namespace: NetworkNamespace,
            as owner: Owner = .application
        ) throws -> Socket {
            try namespace.run { () throws(KernelError) in
                try asOwner(owner) { () throws(KernelError) in
                    let socket = try Socket.open(.udp, family)
                    if let source {
                        try socket.set(.reuseAddress, to: 1)
                        try socket.bind(source)
                    }
                    return socket
                }
            }
        }
    }

    /// Runs `body` while the backend captures lookups as `change` says.
    private func inScene(
        _ subject: BackendUnderTest, _ change: (inout RedirectionPlan) -> Void = { _ in },
        _ body: (IPTablesBackend, Scene) async throws -> Void
    ) async throws {
        let scene = try Scene()
        var plan = scene.plan
        change(&plan)
        try await subject.run(in: scene.pod.workload) { backend, workload in
            try await backend.apply(plan, to: workload)
            try await body(backend, scene)
        }
    }

    /// Takes one query and answers it with what it is.
    private func answerOne(_ server: borrowing Socket) throws -> Datagram {
        let query = try server.receiveDatagram()
        try server.send(query.bytes + Array(" answered".utf8), to: query.peer)
        return query
    }

    private func text(_ datagram: Datagram) -> String {
        String(decoding: datagram.bytes, as: UTF8.self)
    }

    @Test(arguments: cases)
    func `a connected lookup is answered by the sidecar from the address that was asked`(
        _ subject: BackendUnderTest, _ family: AddressFamily
    ) async throws {
        try await inScene(subject) { backend, scene in
            let sidecar = try scene.sidecar(family)
            let server = scene.servers(family)[0]
            let client = try scene.socket(family, in: scene.pod.namespace)
            try client.connect(to: server)
            try client.send("who")
            let query = try answerOne(sidecar)
            #expect(try query.peer == client.localEndpoint())
            let answer = try client.receiveDatagram()
            #expect(text(answer) == "who answered")
            #expect(answer.peer == server)
            #expect(try await backend.counters(in: scene.pod.workload)[.outbound, .dns] == 1)
        }
    }

    @Test(arguments: cases)
    func `two servers asked by one socket answer each for itself`(
        _ subject: BackendUnderTest, _ family: AddressFamily
    ) async throws {
        try await inScene(subject) { _, scene in
            let sidecar = try scene.sidecar(family)
            let client = try scene.socket(family, in: scene.pod.namespace)
            let servers = scene.servers(family)
            for (number, server) in servers.enumerated() {
                try client.send(Array("\(number)".utf8), to: server)
            }
            for _ in servers { _ = try answerOne(sidecar) }
            for _ in servers {
                let answer = try client.receiveDatagram()
                let number = try #require(servers.firstIndex(of: answer.peer))
                #expect(text(answer) == "\(number) answered")
            }
        }
    }

    @Test(arguments: BackendUnderTest.all)
    func `whoever listens at the DNS port answers, also one the plan does not know`(
        _ subject: BackendUnderTest
    ) async throws {
        let nobody: (inout RedirectionPlan) -> Void = { $0.sidecar.uids = [] }
        try await inScene(subject, nobody) { _, scene in
            let resolver = try scene.resolver(
                Endpoint(.loopback(.ipv4), 15053), in: scene.pod.namespace)
            let client = try scene.socket(.ipv4, in: scene.pod.namespace)
            let server = scene.servers(.ipv4)[0]
            try client.send(Array("who".utf8), to: server)
            _ = try answerOne(resolver)
            #expect(try client.receiveDatagram().peer == server)
        }
    }

    @Test(arguments: BackendUnderTest.all)
    func `a lookup by an IPv4-mapped socket is a lookup over IPv4`(
        _ subject: BackendUnderTest
    ) async throws {
        try await inScene(subject) { _, scene in
            let sidecar = try scene.sidecar(.ipv4)
            let client = try scene.socket(.ipv6, in: scene.pod.namespace)
            let server = scene.servers(.ipv4)[1]
            try client.send(Array("who".utf8), to: server)
            _ = try answerOne(sidecar)
            #expect(try client.receiveDatagram().peer == server)
        }
    }

    @Test(arguments: cases)
    func `a lookup over TCP reaches the sidecar, a dropped family's too`(
        _ subject: BackendUnderTest, _ family: AddressFamily
    ) async throws {
        try await inScene(subject, { $0.families[family] = .drop }) { backend, scene in
            let sidecar = try scene.pod.namespace.listen(family, 15053, as: .sidecar)
            let server = scene.servers(family)[0]
            let client = try scene.pod.namespace.connect(to: server)
            let accepted = try sidecar.accept()
            #expect(try accepted.peerEndpoint() == client.localEndpoint())
            #expect(try accepted.originalDestination(family) == server)
            let counters = try await backend.counters(in: scene.pod.workload)
            #expect(counters.rows.map(\.reason).filter { $0 != .loopback } == [.dns])
        }
    }

    @Test(arguments: cases)
    func `what is not to be captured is not`(
        _ subject: BackendUnderTest, _ family: AddressFamily
    ) async throws {
        let exempt = Owner(uid: 950, gid: 950)
        // The address every pod's first resolver has.
        let first = try TestPod.create().peerAddress(family)
        let change: (inout RedirectionPlan) -> Void = { plan in
            plan.dns?.servers = [first]
            plan.ownerPortExclusions = [
                OwnerPortExclusion(uids: IDSet([900...1000]), ports: [53], protocols: [.udp])
            ]
        }
        try await inScene(subject, change) { _, scene in
            let chosen = scene.servers(family)[0], other = scene.servers(family)[1]
            let ways: [(Endpoint, Owner)] = [
                (other, .application), (chosen, .sidecar), (chosen, exempt),
                (Endpoint(chosen.address, 5353), .application),
            ]
            for (server, owner) in ways {
                let outside = try scene.resolver(server, in: scene.pod.peer)
                let client = try scene.socket(family, in: scene.pod.namespace, as: owner)
                try client.connect(to: server)
                try client.send("who")
                _ = try answerOne(outside)
                #expect(text(try client.receiveDatagram()) == "who answered", "\(server)")
            }
        }
    }

    /// The case that zones are for: an application's source port, used again by the sidecar
    /// before connection tracking has forgotten it.
    @Test(arguments: cases, [true, false])
    func `a source port that the sidecar uses again leads out, for it has a zone`(
        _ subject: (BackendUnderTest, AddressFamily), _ hasZones: Bool
    ) async throws {
        let (backend, family) = subject
        let scene = try Scene()
        let (pod, server) = (scene.pod, scene.servers(family)[0])
        let lock = TemporaryFile()
        let rules = IPTablesBackend(backend.flavor, lockFile: lock.path) { plan in
            var rules = RuleSet(plan)
            let isRaw = { (hook: Hook) in hook.point == .rawOutput }
            if !hasZones { rules.hooks.removeAll(where: isRaw) }
            return rules
        }
        try await rules.apply(scene.plan, to: pod.workload)
        let sidecar = try scene.sidecar(family)
        let outside = try scene.resolver(server, in: pod.peer)
        let source = Endpoint(pod.address(family), 20_053)
        try ask(server, from: source, as: .application, answeredBy: sidecar, in: scene)
        if hasZones {
            try ask(server, from: source, as: .sidecar, answeredBy: outside, in: scene)
            #expect(try !sidecar.descriptor.waitForInput(.zero))
            // And again by the application, whose entry is still there.
            try ask(server, from: source, as: .application, answeredBy: sidecar, in: scene)
        } else {
            // The sidecar asks itself: what the zone is against.
            try ask(server, from: source, as: .sidecar, answeredBy: sidecar, in: scene)
            #expect(try !outside.descriptor.waitForInput(.zero))
        }
    }

    /// One question by a socket of its own, closed when it is answered.
    private func ask(
        _ server: Endpoint, from source: Endpoint, as owner: Owner,
        answeredBy resolver: borrowing Socket, in scene: Scene
    ) throws {
        let client = try scene.socket(
            server.address.family, from: source, in: scene.pod.namespace, as: owner)
        try client.connect(to: server)
        try client.send("who")
        let query = try answerOne(resolver)
        #expect(query.peer == source)
        #expect(try client.receiveDatagram().peer == server)
    }

    @Test(arguments: BackendUnderTest.all)
    func `lookups follow the plan as soon as it changes, from one socket`(
        _ subject: BackendUnderTest
    ) async throws {
        let scene = try Scene()
        try await subject.run(in: scene.pod.workload) { backend, workload in
            let sidecar = try scene.sidecar(.ipv4)
            let client = try scene.socket(.ipv4, in: scene.pod.namespace)
            let server = scene.servers(.ipv4)[0]
            let outside = try scene.resolver(server, in: scene.pod.peer)
            func ask(_ resolver: borrowing Socket) throws {
                try client.send(Array("who".utf8), to: server)
                _ = try answerOne(resolver)
                #expect(try client.receiveDatagram().peer == server)
            }
            try await backend.apply(scene.pod.plan, to: workload)
            try ask(outside)
            try await backend.apply(scene.plan, to: workload)
            try ask(sidecar)
            try await backend.remove(from: workload)
            try ask(outside)
        }
    }
}
