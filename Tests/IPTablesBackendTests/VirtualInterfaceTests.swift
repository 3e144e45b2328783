// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// A machine behind a bridge in the pod, as KubeVirt and Docker in a pod have it.
@Suite(.requiresKernel, .timeLimit(.minutes(5))) struct VirtualInterfaceTests {
    static let cases = TrafficTests.cases

    private struct Scene {
        let pod: TestPod
        let machine: NetworkNamespace

        static let gateways: [AddressFamily: IPAddress] = [
            .ipv4: IPAddress(ipv4: 0xac12_0001), .ipv6: IPAddress(bits: 0xfd00_0018 << 96 + 1),
        ]

        init() throws {
            pod = try TestPod.create()
            machine = try NetworkNamespace.create()
            var links = try RouteNetlink.open(in: pod.namespace)
            try links.createBridge("br0")
            try links.createVethPair("port0", peer: "eth0", in: machine)
            try links.setMaster("port0", "br0")
            var machineLinks = try RouteNetlink.open(in: machine)
            var peerLinks = try RouteNetlink.open(in: pod.peer)
            for (family, gateway) in Self.gateways {
                let length = family == .ipv4 ? 24 : 112
                try links.addAddress(gateway, prefixLength: length, to: "br0")
                let own = IPAddress(bits: gateway.bits + 4)
                try machineLinks.addAddress(own, prefixLength: length, to: "eth0")
            }
            for name in ["port0", "br0"] { try links.setUp(name) }
            try machineLinks.setUp("eth0")
            for (family, gateway) in Self.gateways {
                try machineLinks.addRoute(to: .all(family), via: gateway)
                let behind = try #require(
                    CIDR(gateway, prefixLength: family == .ipv4 ? 24 : 112))
                try peerLinks.addRoute(to: behind, via: pod.address(family))
            }
            let forwarding =
                "echo 1 > /proc/sys/net/ipv4/ip_forward; "
                + "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"
            let result = try StockTool.run("sh", "-c", forwarding, in: pod.namespace)
            #expect(result.status == 0)
        }

        func gateway(_ family: AddressFamily) -> IPAddress {
            Self.gateways[family] ?? .loopback(family)
        }
    }

    /// Runs `body` with a plan for which the bridge's machines are outside.
    private func inScene(
        _ subject: BackendUnderTest, _ change: (inout RedirectionPlan) -> Void = { _ in },
        _ body: (IPTablesBackend, Scene) async throws -> Void
    ) async throws {
        let scene = try Scene()
        var plan = scene.pod.plan
        plan.virtualInterfaces = [
            VirtualInterface(
                "br+",
                localNetworks: Set(["172.18.0.0/24", "fd00:18::/112"].compactMap { CIDR($0) }))
        ]
        plan.dns = DNSCapture(port: 15053)
        plan.outbound.excludedPorts = [2222]
        change(&plan)
        try await subject.run(in: scene.pod.workload) { backend, workload in
            try await backend.apply(plan, to: workload)
            try await body(backend, scene)
        }
    }

    @Test(arguments: cases)
    func `what a machine behind the bridge sends is outbound`(
        _ subject: BackendUnderTest, _ family: AddressFamily
    ) async throws {
        try await inScene(subject) { backend, scene in
            let pod = scene.pod
            let sidecar = try pod.namespace.listen(family, 15001, as: .sidecar)
            let server = Endpoint(pod.peerAddress(family), 8080)
            let client = try connect(scene.machine, to: server)
            let accepted = try sidecar.accept()
            #expect(try accepted.originalDestination(family) == server)
            #expect(try accepted.peerEndpoint() == client.localEndpoint())

            let outside = try pod.peer.listen(family, 2222)
            let excluded = try connect(scene.machine, to: Endpoint(server.address, 2222))
            #expect(try outside.accept().peerEndpoint() == excluded.localEndpoint())

            let local = try pod.namespace.listen(family, 80)
            for address in [scene.gateway(family), pod.address(family)] {
                let call = try connect(scene.machine, to: Endpoint(address, 80))
                #expect(try local.accept().peerEndpoint() == call.localEndpoint())
            }
            let counters = try await backend.counters(in: pod.workload)
            for reason in [Reason.outbound, .portExcluded, .cidrExcluded, .ownAddress] {
                #expect(counters[.outbound, reason] == 1, "\(reason)")
            }
        }
    }

    /// Connects as the sidecar's user, who is nobody special in a machine of its own.
    private func connect(
        _ namespace: NetworkNamespace, to server: Endpoint
    ) throws(KernelError) -> Socket {
        try namespace.connect(to: server, as: .sidecar)
    }

    /// Connects with little patience: nothing is to answer.
    private func hurry(_ server: Endpoint, in namespace: NetworkNamespace) throws {
        try namespace.run { () throws(KernelError) in
            let socket = try Socket.open(
                .tcp, server.address.family, timeout: .milliseconds(300))
            try socket.connect(to: server)
        }
    }

    @Test(arguments: cases)
    func `its lookups are captured and answered from the address it asked`(
        _ subject: BackendUnderTest, _ family: AddressFamily
    ) async throws {
        try await inScene(subject, { $0.families[family] = .drop }) { _, scene in
            let pod = scene.pod
            let sidecar = try pod.namespace.run { () throws(KernelError) in
                try asOwner(.sidecar) { () throws(KernelError) in
                    let socket = try Socket.open(.udp, family)
                    try socket.bind(
                        Endpoint(IPAddress(bits: family == .ipv4 ? 0xffff << 32 : 0), 15053))
                    return socket
                }
            }
            let server = Endpoint(pod.peerAddress(family), 53)
            let client = try scene.machine.run { () throws(KernelError) in
                let socket = try Socket.open(.udp, family)
                try socket.connect(to: server)
                return socket
            }
            try client.send("who")
            let query = try sidecar.receiveDatagram()
            try sidecar.send(Array("me".utf8), to: query.peer)
            #expect(try client.receiveDatagram().peer == server)

            // Over TCP, although all other TCP of the family is dropped.
            let listener = try pod.namespace.listen(family, 15053, as: .sidecar)
            let lookup = try connect(scene.machine, to: server)
            #expect(try listener.accept().peerEndpoint() == lookup.localEndpoint())
            #expect(throws: KernelError.self) {
                try hurry(Endpoint(server.address, 2222), in: scene.machine)
            }
        }
    }

    @Test(arguments: cases)
    func `what comes from outside is inbound still, transparent or not`(
        _ subject: BackendUnderTest, _ family: AddressFamily
    ) async throws {
        try await inScene(
            subject, { $0.inboundMode = .transparent(mark: 7, table: 77) }
        ) { _, scene in
            let pod = scene.pod
            let sidecar = try pod.namespace.listen(
                family, 15003,
                options: [
                    .reuseAddress, family == .ipv4 ? Socket.Option.transparent4 : .transparent6,
                ])
            let client = try pod.peer.connect(to: Endpoint(pod.address(family), 80))
            let accepted = try sidecar.accept()
            #expect(try accepted.peerEndpoint() == client.localEndpoint())
            #expect(try accepted.localEndpoint().port == 80)

            let outbound = try pod.namespace.listen(family, 15001, as: .sidecar)
            let call = try connect(scene.machine, to: Endpoint(pod.peerAddress(family), 8080))
            #expect(try outbound.accept().peerEndpoint() == call.localEndpoint())
        }
    }
}
