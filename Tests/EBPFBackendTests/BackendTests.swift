// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import KernelTestSupport
import LibBPF
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import Testing

/// What only this mechanism has to prove: its maps, its listeners, its neighbors.
@Suite(.requiresKernel) struct BackendTests {
    /// Connections that were excluded were recorded all the same.
    @Test(.timeLimit(.minutes(5)))
    func `a connection that is not redirected leaves no trace`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let backend = try await EBPFBackend.load(attachingTo: cgroup)
                let pod = try TestPod.create()
                var plan = pod.plan
                plan.outbound.excludedPorts = [8080]
                try await backend.apply(plan, to: pod.workload)
                let server = try pod.peer.listen(.ipv4, 8080)
                let before = try await backend.occupancy()
                let client = try pod.namespace.connect(
                    to: Endpoint(pod.peerAddress(.ipv4), 8080))
                let accepted = try server.accept()
                #expect(try await backend.occupancy() == before)
                #expect(try accepted.peerEndpoint() == client.localEndpoint())
                try await backend.remove(from: pod.workload)
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `every map is empty when the last pod is gone`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let backend = try await EBPFBackend.load(attachingTo: cgroup)
                let pods = try (0..<3).map { try TestPod.create("pod\($0)", number: $0) }
                for pod in pods {
                    var plan = pod.plan
                    plan.sidecar.uids = [1500, 1501]
                    plan.outbound.excludedNetworks = [.all(.ipv4)]
                    try await backend.apply(plan, to: pod.workload)
                    try await backend.apply(pod.plan, to: pod.workload)
                }
                let occupied = try await backend.occupancy()
                #expect(occupied["swerve_pods"] == 3)
                // Their lists are equal, so they are one set.
                #expect(occupied["swerve_port_sets"] == 1)
                for pod in pods { try await backend.remove(from: pod.workload) }
                let counts = try await backend.occupancy()
                #expect(counts.values.allSatisfy { $0 == 0 }, "\(counts)")
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `a refused connection leaves no handshake behind`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let backend = try await EBPFBackend.load(attachingTo: cgroup)
                let pod = try TestPod.create()
                try await backend.apply(pod.plan, to: pod.workload)
                for _ in 0..<10 {
                    #expect(throws: KernelError.self) {
                        _ = try pod.namespace.connect(
                            to: Endpoint(pod.peerAddress(.ipv4), 8080))
                    }
                }
                #expect(try await backend.occupancy()["swerve_handshakes"] == 0)
                #expect(try await backend.occupancy()["swerve_handovers"] ?? 0 == 0)
                try await backend.remove(from: pod.workload)
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `a sidecar that listened before the pod was redirected is found`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let pod = try TestPod.create()
                let sidecars = try AddressFamily.allCases.map {
                    SharedSocket(try pod.namespace.listen($0, 15003, as: .sidecar))
                }
                let backend = try await EBPFBackend.load(attachingTo: cgroup)
                try await backend.apply(pod.plan, to: pod.workload)
                for (family, sidecar) in zip(AddressFamily.allCases, sidecars) {
                    let client = try pod.peer.connect(to: Endpoint(pod.address(family), 8080))
                    #expect(
                        try sidecar.socket.accept().peerEndpoint() == client.localEndpoint())
                }
                try await backend.remove(from: pod.workload)
            }
        }
    }

    /// The table of listeners held one a pod; when that one closed, the others were forgotten.
    @Test(.timeLimit(.minutes(5)))
    func `the death of one of a group of listeners leaves the others serving`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let backend = try await EBPFBackend.load(attachingTo: cgroup)
                let pod = try TestPod.create()
                try await backend.apply(pod.plan, to: pod.workload)
                var group = try (0..<4).map { _ in
                    SharedSocket(
                        try pod.namespace.listen(
                            .ipv4, 15003, as: .sidecar, options: [.reusePort]))
                }
                while !group.isEmpty {
                    let client = try pod.peer.connect(to: Endpoint(pod.address(.ipv4), 8080))
                    let taker = try #require(
                        try group.firstIndex {
                            try $0.socket.descriptor.waitForInput(.milliseconds(100))
                        })
                    #expect(
                        try group[taker].socket.accept().peerEndpoint() == client.localEndpoint())
                    group.removeFirst()
                }
                #expect(try await backend.occupancy()["swerve_listeners"] == 0)
                try await backend.remove(from: pod.workload)
            }
        }
    }

    /// With more workers than slots, a reload once left only listeners nobody knew.
    @Test(.timeLimit(.minutes(5)))
    func `a sidecar with many listeners can be reloaded`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let backend = try await EBPFBackend.load(attachingTo: cgroup)
                let pod = try TestPod.create()
                try await backend.apply(pod.plan, to: pod.workload)
                func generation() throws -> [SharedSocket] {
                    try (0..<12).map { _ in
                        SharedSocket(
                            try pod.namespace.listen(
                                .ipv4, 15003, as: .sidecar, options: [.reusePort]))
                    }
                }
                var old = try generation()
                let new = try generation()
                old.removeAll()
                let client = try pod.peer.connect(to: Endpoint(pod.address(.ipv4), 8080))
                let taker = try #require(
                    try new.first { try $0.socket.descriptor.waitForInput(.milliseconds(100)) })
                #expect(try taker.socket.accept().peerEndpoint() == client.localEndpoint())
                try await backend.remove(from: pod.workload)
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `a new inbound port leaves no moment without a listener, and nothing of the old`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let backend = try await EBPFBackend.load(attachingTo: cgroup)
                let pod = try TestPod.create()
                try await backend.apply(pod.plan, to: pod.workload)
                let listeners = try [UInt16(15003), 16003].map {
                    SharedSocket(try pod.namespace.listen(.ipv4, $0, as: .sidecar))
                }
                var plan = pod.plan
                for (port, listener) in zip([UInt16(15003), 16003], listeners) {
                    plan.sidecar.inboundPort = port
                    try await backend.apply(plan, to: pod.workload)
                    let client = try pod.peer.connect(to: Endpoint(pod.address(.ipv4), 8080))
                    #expect(
                        try listener.socket.accept().peerEndpoint() == client.localEndpoint())
                    #expect(try await backend.occupancy()["swerve_listeners"] == 1)
                }
                try await backend.remove(from: pod.workload)
                #expect(try await backend.occupancy()["swerve_listeners"] == 0)
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `a pod whose interface is gone can be removed`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let backend = try await EBPFBackend.load(
                    attachingTo: cgroup, inbound: .trafficControl)
                let pod = try TestPod.create()
                try await backend.apply(pod.plan, to: pod.workload)
                var links = try RouteNetlink.open(in: pod.namespace)
                try links.delete("eth0")
                try await backend.remove(from: pod.workload)
                let counts = try await backend.occupancy()
                #expect(counts.values.allSatisfy { $0 == 0 }, "\(counts)")
            }
        }
    }

    /// Attached without `multi`, the original pushed other people's programs out.
    @Test(.timeLimit(.minutes(5)))
    func `other people's programs on the cgroup stay, and both run`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let foreign = try BPFProgram.load(
                    .cgroupSocketAddress, .connect4, instructions: [.returnValue(1), .exit])
                let link = try BPFLink.attach(foreign, to: cgroup, .connect4)
                let backend = try await EBPFBackend.load(attachingTo: cgroup)
                let ids = try BPFLink.programs(on: cgroup, .connect4)
                #expect(ids.contains(foreign.id) && ids.count > 1)

                let pod = try TestPod.create()
                try await backend.apply(pod.plan, to: pod.workload)
                let sidecar = try pod.namespace.listen(.ipv4, 15001, as: .sidecar)
                let client = try pod.namespace.connect(
                    to: Endpoint(pod.peerAddress(.ipv4), 8080))
                #expect(try sidecar.accept().peerEndpoint() == client.localEndpoint())
                try await backend.remove(from: pod.workload)
                withExtendedLifetime(link) {}
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `nothing stays attached when the backend is gone`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                func load() async throws {
                    let backend = try await EBPFBackend.load(attachingTo: cgroup)
                    #expect(try !BPFLink.programs(on: cgroup, .connect4).isEmpty)
                    withExtendedLifetime(backend) {}
                }
                try await load()
                for type in [
                    BPFAttachType.connect4, .connect6, .sendmsg4, .recvmsg6, .getsockopt,
                    .socketCreate, .sockOps,
                ] {
                    #expect(try BPFLink.programs(on: cgroup, type).isEmpty)
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: ["interface", "address"])
    func `what connect(2) cannot know is refused by name`(_ part: String) async {
        await #expect(processExitsWith: .success) { [part] in
            try await withTestCgroup { cgroup in
                let backend = try await EBPFBackend.load(attachingTo: cgroup)
                let pod = try TestPod.create()
                var plan = pod.plan
                if part == "interface" {
                    plan.outbound.excludedInterfaces = ["eth1"]
                } else {
                    plan.ownAddresses.insert(IPAddress(ipv4: 0x0a63_0001))
                }
                let error = await #expect(throws: RedirectionError.self) {
                    try await backend.apply(plan, to: pod.workload)
                }
                #expect("\(String(describing: error))".contains(part))
                #expect(try await backend.installed(in: pod.workload) == nil)
            }
        }
    }
}

/// A socket in an array.
private final class SharedSocket {
    let socket: Socket
    init(_ socket: consuming Socket) { self.socket = socket }
}
