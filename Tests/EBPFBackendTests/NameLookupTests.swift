// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import Testing

/// DNS, captured: who gets the query, from whom it seems to be, and from whom the answer comes.
@Suite(.requiresKernel) struct NameLookupTests {
    /// A pod whose name lookups go to port 15053, and the sidecar's sockets there.
    struct Scene: ~Copyable {
        let pod: TestPod
        let family: AddressFamily
        let sidecar: Socket
        let resolver: Endpoint

        init(_ pod: TestPod, _ family: AddressFamily) throws(KernelError) {
            self.pod = pod
            self.family = family
            resolver = Endpoint(pod.peerAddress(family), 53)
            sidecar = try pod.namespace.run { () throws(KernelError) in
                let socket = try Socket.open(.udp, family)
                try socket.bind(Endpoint(.loopback(family), 15053))
                return socket
            }
        }

        func open(as owner: Owner = .application) throws(KernelError) -> Socket {
            try pod.namespace.run { () throws(KernelError) in
                try asOwner(owner) { () throws(KernelError) in try Socket.open(.udp, family) }
            }
        }

        /// The sidecar takes a query and answers it; returns where it came from.
        func answer() throws(KernelError) -> Endpoint {
            let query = try sidecar.receiveDatagram()
            try sidecar.send(query.bytes.reversed(), to: query.peer)
            return query.peer
        }

        /// A server where nothing may arrive, or only what is left alone.
        func server(_ port: UInt16 = 53) throws(KernelError) -> Socket {
            try pod.peer.run { () throws(KernelError) in
                let socket = try Socket.open(.udp, family)
                try socket.bind(Endpoint(pod.peerAddress(family), port))
                return socket
            }
        }
    }

    static func withScenes(
        dns: DNSCapture = DNSCapture(port: 15053),
        _ change: (inout RedirectionPlan) -> Void = { _ in },
        _ body: (borrowing Scene, EBPFBackend) async throws -> Void
    ) async throws {
        try await withTestCgroup { cgroup in
            let backend = try await EBPFBackend.load(attachingTo: cgroup)
            let pod = try TestPod.create()
            var plan = pod.plan
            plan.dns = dns
            change(&plan)
            try await backend.apply(plan, to: pod.workload)
            for family in AddressFamily.allCases {
                try await body(try Scene(pod, family), backend)
            }
            try await backend.remove(from: pod.workload)
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `a connected socket's query lands on the sidecar, and nobody can tell`() async {
        await #expect(processExitsWith: .success) {
            try await NameLookupTests.withScenes { scene, _ in
                let client = try scene.open()
                try client.connect(to: scene.resolver)
                try client.send("ab")
                let source = try scene.answer()
                #expect(try source == client.localEndpoint())
                #expect(source.address == scene.pod.address(scene.family))
                #expect(try client.peerEndpoint() == scene.resolver)
                let answer = try client.receiveDatagram()
                #expect(answer.bytes == Array("ba".utf8))
                #expect(answer.peer == scene.resolver)
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `an answer to a socket that is not connected comes from the address that was asked`() async
    {
        await #expect(processExitsWith: .success) {
            try await NameLookupTests.withScenes { scene, _ in
                let client = try scene.open()
                for resolver in [scene.resolver, Endpoint(.loopback(scene.family), 53)] {
                    try client.send([1, 2], to: resolver)
                    let isLocal = resolver.address.isLoopback
                    #expect(
                        try scene.answer().address
                            == (isLocal ? resolver.address : scene.pod.address(scene.family)))
                    #expect(try client.receiveDatagram().peer == resolver)
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `IPv4 out of an IPv6 socket is captured and answered as IPv4`() async {
        await #expect(processExitsWith: .success) {
            try await NameLookupTests.withScenes { scene, _ in
                guard scene.family == .ipv4 else { return }
                let client = try scene.pod.namespace.run { () throws(KernelError) in
                    try Socket.open(.udp, .ipv6)
                }
                try client.send([1], to: scene.resolver)
                #expect(try scene.answer().address == scene.pod.address(.ipv4))
                #expect(try client.receiveDatagram().peer == scene.resolver)
                try client.connect(to: scene.resolver)
                try client.send("2")
                _ = try scene.answer()
                #expect(try client.receiveDatagram().peer == scene.resolver)
                #expect(try client.peerEndpoint() == scene.resolver)
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `a source that was chosen for one datagram stays`() async {
        await #expect(processExitsWith: .success) {
            try await NameLookupTests.withScenes { scene, _ in
                guard scene.family == .ipv6 else { return }
                let client = try scene.open()
                let own = scene.pod.address(.ipv6)
                try client.send([1], to: Endpoint(.loopback(.ipv6), 53), from: own)
                #expect(try scene.answer().address == own)
                let bound = try scene.open()
                try bound.bind(Endpoint(own, 0))
                try bound.send([1], to: scene.resolver)
                #expect(try scene.answer() == bound.localEndpoint())
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `a connected socket can be connected elsewhere, and back`() async {
        await #expect(processExitsWith: .success) {
            try await NameLookupTests.withScenes { scene, _ in
                let server = try scene.server(5353)
                let other = Endpoint(scene.pod.peerAddress(scene.family), 5353)
                let client = try scene.open()
                for _ in 0..<2 {
                    try client.connect(to: scene.resolver)
                    try client.send("query")
                    #expect(try scene.answer() == client.localEndpoint())
                    #expect(try client.receiveDatagram().peer == scene.resolver)
                    try client.connect(to: other)
                    #expect(try client.peerEndpoint() == other)
                    try client.send("other")
                    let datagram = try server.receiveDatagram()
                    #expect(try datagram.peer == client.localEndpoint())
                    try server.send([1], to: datagram.peer)
                    #expect(try client.receiveDatagram().peer == other)
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `lookups over TCP are captured, their origin with them`() async {
        await #expect(processExitsWith: .success) {
            try await NameLookupTests.withScenes { scene, _ in
                let sidecar = try scene.pod.namespace.listen(scene.family, 15053, as: .sidecar)
                let client = try scene.pod.namespace.connect(to: scene.resolver)
                let accepted = try sidecar.accept()
                #expect(try accepted.originalDestination(scene.family) == scene.resolver)
                #expect(try accepted.peerEndpoint() == client.localEndpoint())
                #expect(try client.peerEndpoint() == scene.resolver)
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `the sidecar's own lookups are left alone, and an excluded user's`() async {
        await #expect(processExitsWith: .success) {
            try await NameLookupTests.withScenes {
                $0.ownerPortExclusions = [
                    OwnerPortExclusion(uids: IDSet([2000...2999]), ports: [53], protocols: [.udp])
                ]
            } _: { scene, _ in
                let server = try scene.server()
                for owner in [Owner.sidecar, Owner(uid: 2345, gid: 1)] {
                    let client = try scene.open(as: owner)
                    try client.send([1], to: scene.resolver)
                    #expect(
                        try server.receiveDatagram().peer.address
                            == scene.pod.address(scene.family))
                    try client.connect(to: scene.resolver)
                    try client.send("2")
                    #expect(try server.receiveDatagram().peer == client.localEndpoint())
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `only the resolvers and protocols that were named are captured`() async {
        await #expect(processExitsWith: .success) {
            let other = try #require(IPAddress("192.0.2.53"))
            let named = DNSCapture(port: 15053, servers: [other], protocols: [.udp])
            try await NameLookupTests.withScenes(dns: named) { scene, _ in
                let server = try scene.server()
                let client = try scene.open()
                try client.send([1], to: scene.resolver)
                _ = try server.receiveDatagram()
                guard scene.family == .ipv4 else { return }
                try client.send([1], to: Endpoint(other, 53))
                #expect(try scene.answer().address == scene.pod.address(.ipv4))
                #expect(try client.receiveDatagram().peer == Endpoint(other, 53))
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `each captured lookup is counted`() async {
        await #expect(processExitsWith: .success) {
            try await NameLookupTests.withScenes { scene, backend in
                let before = try await backend.counters(in: scene.pod.workload)
                let client = try scene.open()
                for _ in 0..<3 { try client.send([1], to: scene.resolver) }
                try client.connect(to: scene.resolver)
                let after = try await backend.counters(in: scene.pod.workload)
                #expect(after[.outbound, .dns] - before[.outbound, .dns] == 4)
            }
        }
    }
}
