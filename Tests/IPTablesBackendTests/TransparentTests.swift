// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// Inbound connections that are handed to the sidecar as they are.
@Suite(.requiresKernel, .timeLimit(.minutes(5))) struct TransparentTests {
    static let cases = TrafficTests.cases
    private static let mark: UInt32 = 1337

    private func plan(_ pod: TestPod) -> RedirectionPlan {
        var plan = pod.plan
        plan.inboundMode = .transparent(mark: Self.mark, table: 133)
        plan.inbound.excludedPorts = [9090]
        return plan
    }

    /// A socket of the sidecar's that may use any address; only root may make it so.
    private func sidecarSocket(
        _ family: AddressFamily, in pod: TestPod, marked: Bool = false
    ) throws(KernelError) -> Socket {
        let option = family == .ipv4 ? Socket.Option.transparent4 : .transparent6
        return try pod.namespace.run { () throws(KernelError) in
            let socket = try asOwner(.sidecar) { () throws(KernelError) in
                try Socket.open(.tcp, family)
            }
            try socket.set(.reuseAddress, to: 1)
            if family == .ipv6 { try socket.set(.ipv6Only, to: 1) }
            try socket.set(option, to: 1)
            if marked { try socket.set(.mark, to: CInt(Self.mark)) }
            return socket
        }
    }

    private func listen(_ family: AddressFamily, in pod: TestPod) throws -> Socket {
        let socket = try sidecarSocket(family, in: pod)
        try socket.bind(Endpoint(IPAddress(bits: family == .ipv4 ? 0xffff << 32 : 0), 15003))
        try socket.listen()
        return socket
    }

    @Test(arguments: cases)
    func `the sidecar sees both ends of a connection as they are, and so does the application`(
        _ subject: BackendUnderTest, _ family: AddressFamily
    ) async throws {
        let pod = try TestPod.create()
        let before = try Routing(of: pod.namespace)
        let service = Endpoint(pod.address(family), 80)
        let application = try pod.namespace.listen(family, 80)
        let earlier = try pod.peer.connect(to: service)
        let earlierAccepted = try application.accept()
        try await subject.run(in: pod.workload) { backend, workload in
            try await backend.apply(plan(pod), to: workload)
            #expect(try await backend.installed(in: workload) == plan(pod).fingerprint)
            let sidecar = try listen(family, in: pod)
            let client = try pod.peer.connect(to: service)
            let accepted = try sidecar.accept()
            #expect(try accepted.peerEndpoint() == client.localEndpoint())
            #expect(try accepted.localEndpoint() == service)
            #expect(try !application.descriptor.waitForInput(.zero))

            // On to the application, in the client's name.
            let onward = try sidecarSocket(family, in: pod, marked: true)
            try onward.bind(Endpoint(try client.localEndpoint().address, 0))
            try onward.connect(to: service)
            let served = try application.accept()
            #expect(try served.peerEndpoint() == onward.localEndpoint())
            #expect(try served.peerEndpoint().address == client.localEndpoint().address)
            try converse(client, accepted)
            try converse(onward, served)

            let counters = try await backend.counters(in: workload)
            #expect(counters[.inbound, .inbound] == 1)
            #expect(counters[.outbound, .passthrough] == 1)
            try await backend.remove(from: workload)
            try converse(earlier, earlierAccepted)
            try converse(client, accepted)
        }
        #expect(try Routing(of: pod.namespace) == before)
    }

    /// The handshake's last segment belongs to no socket then, and is no SYN.
    @Test(arguments: cases)
    func `with SYN cookies connections come to the sidecar all the same`(
        _ subject: BackendUnderTest, _ family: AddressFamily
    ) async throws {
        let pod = try TestPod.create()
        let always = try StockTool.run(
            "sh", "-c", "echo 2 > /proc/sys/net/ipv4/tcp_syncookies", in: pod.namespace)
        #expect(always.status == 0)
        let service = Endpoint(pod.address(family), 80)
        // It has sent cookies itself lately, so it would take the sidecar's.
        let application = try pod.namespace.listen(family, 80)
        let earlier = try pod.peer.connect(to: service)
        let earlierAccepted = try application.accept()
        try await subject.run(in: pod.workload) { backend, workload in
            try await backend.apply(plan(pod), to: workload)
            let sidecar = try listen(family, in: pod)
            for _ in 0..<3 {
                let client = try pod.peer.connect(to: service)
                let accepted = try sidecar.accept()
                #expect(try accepted.peerEndpoint() == client.localEndpoint())
                #expect(try accepted.localEndpoint() == service)
                try converse(client, accepted)
            }
            try converse(earlier, earlierAccepted)
            #expect(try !application.descriptor.waitForInput(.milliseconds(50)))
            #expect(try await backend.counters(in: workload)[.inbound, .inbound] == 3)
        }
    }

    @Test(arguments: BackendUnderTest.all)
    func `many changes at once end as one of them`(_ subject: BackendUnderTest) async throws {
        let pod = try TestPod.create()
        let transparent = plan(pod)
        try await subject.run(in: pod.workload) { backend, workload in
            for round in 0..<4 {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for number in 0..<12 {
                        group.addTask {
                            switch (number + round) % 3 {
                            case 0: try await backend.remove(from: workload)
                            case 1: try await backend.apply(transparent, to: workload)
                            default: try await backend.apply(pod.plan, to: workload)
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                let plan = try await backend.installed(in: workload)
                let routing = try TransparentRouting.installed(
                    in: pod.namespace, for: subject.owner)
                #expect((routing != nil) == (plan == transparent.fingerprint))
                let sections = try await backend.listing(in: workload).sections
                #expect(sections.isEmpty == (plan == nil))
            }
            try await backend.remove(from: workload)
            let rules = try StockTool.Snapshot(of: pod.namespace)
            #expect(rules.nft.isEmpty)
            #expect(![rules.ipv4, rules.ipv6].contains { $0.contains("-A ") })
        }
    }

    /// Connects with little patience: nothing is to answer.
    private func hurry(_ server: Endpoint, in namespace: NetworkNamespace) throws {
        try namespace.run { () throws(KernelError) in
            let socket = try Socket.open(
                .tcp, server.address.family, timeout: .milliseconds(300))
            try socket.connect(to: server)
        }
    }

    /// Sends something both ways.
    @Test(arguments: cases)
    func `what is excluded, the sidecar's own and calls to itself are as ever`(
        _ subject: BackendUnderTest, _ family: AddressFamily
    ) async throws {
        let pod = try TestPod.create()
        try await subject.run(in: pod.workload) { backend, workload in
            try await backend.apply(plan(pod), to: workload)
            let sidecar = try listen(family, in: pod)
            for port in [UInt16(9090), 15901] {
                let listener = try pod.namespace.listen(family, port)
                let client = try pod.peer.connect(to: Endpoint(pod.address(family), port))
                #expect(try listener.accept().peerEndpoint() == client.localEndpoint())
            }
            let itself = Endpoint(pod.address(family), 80)
            let call = try pod.namespace.connect(to: itself, as: .sidecar)
            let accepted = try sidecar.accept()
            #expect(try accepted.peerEndpoint() == call.localEndpoint())
            #expect(try accepted.originalDestination(family) == itself)
            let rows = try await backend.counters(in: workload).rows
            #expect(
                Set(rows.map(\.reason)).isSuperset(of: [.portExcluded, .sidecarPort, .selfCall]))
        }
    }

    @Test(arguments: cases)
    func `without a listener nothing gets past the sidecar`(
        _ subject: BackendUnderTest, _ family: AddressFamily
    ) async throws {
        let pod = try TestPod.create()
        let application = try pod.namespace.listen(family, 80)
        try await subject.run(in: pod.workload) { backend, workload in
            try await backend.apply(plan(pod), to: workload)
            #expect(throws: KernelError.self) {
                try hurry(Endpoint(pod.address(family), 80), in: pod.peer)
            }
            #expect(try !application.descriptor.waitForInput(.zero))
        }
    }

    @Test(arguments: BackendUnderTest.all)
    func `a plan without its routing is not installed, and a failed one leaves none`(
        _ subject: BackendUnderTest
    ) async throws {
        let pod = try TestPod.create()
        let before = try Routing(of: pod.namespace)
        try await subject.run(in: pod.workload) { backend, workload in
            try await backend.apply(plan(pod), to: workload)
            try TransparentRouting.remove(from: pod.namespace, for: subject.owner)
            #expect(try await backend.installed(in: workload) == nil)
            try await backend.apply(plan(pod), to: workload)
            #expect(try await backend.installed(in: workload) == plan(pod).fingerprint)
            try await backend.apply(pod.plan, to: workload)
            #expect(try Routing(of: pod.namespace) == before)
        }
        let lock = TemporaryFile()
        let broken = IPTablesBackend(subject.flavor, lockFile: lock.path) { plan in
            var rules = RuleSet(plan)
            rules.chains.removeAll()
            return rules
        }
        await #expect(throws: RedirectionError.self) {
            try await broken.apply(plan(pod), to: pod.workload)
        }
        #expect(try Routing(of: pod.namespace) == before)
    }
}

/// A namespace's rules, routes and the sysctl that goes with them.
private struct Routing: Equatable {
    let lines: [String]

    init(of namespace: NetworkNamespace) throws {
        lines = try [
            "ip -4 rule; ip -6 rule", "ip -4 route show table all; ip -6 route show table all",
            "cat /proc/sys/net/ipv4/tcp_fwmark_accept",
        ].map { try StockTool.run("sh", "-c", $0, in: namespace).output }
    }
}
