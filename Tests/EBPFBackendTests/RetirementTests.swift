// SPDX-License-Identifier: Apache-2.0

import CSwerveABI
import EBPFBackend
import KernelTestSupport
import LibBPF
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import Testing

/// Taken out of service, the programs redirect nothing new and cut nothing off.
@Suite(.requiresKernel) struct RetirementTests {
    @Test(.timeLimit(.minutes(2)), arguments: InboundMethod.allCases)
    func `established connections live on, and new ones pass`(_ method: InboundMethod) async {
        await #expect(processExitsWith: .success) { [method] in
            try await withPinnedPod { world in
                let workload = world.pod.workload
                let backend = try await world.load(inbound: method)
                try await backend.apply(world.pod.plan, to: workload)
                let outbound = try world.connectOut()
                let inbound = try world.connectIn()
                let retirement = try await backend.retire(from: workload)
                #expect(try await backend.installed(in: workload) == nil)
                // By socket lookup all is with the socket; by tc the filters are needed still.
                let expected: Retirement =
                    method == .socketLookup ? .complete : .lingering(connections: 1)
                #expect(retirement == expected)
                try world.check(outbound: outbound, inbound: inbound)
                try checkPassing(world)
                try world.check(outbound: outbound, inbound: inbound)
                guard method == .trafficControl else { return }
                #expect(try await backend.retire(from: workload) == expected)
                try inbound.closeClientFirst()
                try await waitForRetirement(of: workload, by: backend)
                var counts = try await backend.occupancy()
                // The outbound connection's, while it lives.
                #expect(counts.removeValue(forKey: "swerve_handovers") ?? 1 == 1)
                #expect(counts.values.allSatisfy { $0 == 0 }, "\(counts)")
                #expect(world.files.tree("/swerve/v\(SWERVE_ABI_VERSION)/pods") == [])
                try outbound.exchange("still")
            }
        }
    }

    @Test(.timeLimit(.minutes(2)))
    func `a retirement is carried on by the next process, or ended by a plan`() async {
        await #expect(processExitsWith: .success) {
            try await withPinnedPod { world in
                let workload = world.pod.workload
                let inbound: Connection
                do {
                    let first = try await world.load(inbound: .trafficControl)
                    try await first.apply(world.pod.plan, to: workload)
                    inbound = try world.connectIn()
                    #expect(
                        try await first.retire(from: workload) == .lingering(connections: 1))
                }
                let second = try await world.load(inbound: .trafficControl)
                #expect(try await second.installed(in: workload) == nil)
                #expect(try await second.retire(from: workload) == .lingering(connections: 1))
                try inbound.exchange("retired")
                try await second.apply(world.pod.plan, to: workload)
                try world.checkRedirection()
                try inbound.exchange("redirected")
                try await second.remove(from: workload)
            }
        }
    }

    /// A SYN that was given to the sidecar before, and whose handshake ends after.
    @Test(.timeLimit(.minutes(2)), arguments: InboundMethod.allCases)
    func `a handshake in flight completes with its origin`(_ method: InboundMethod) async {
        await #expect(processExitsWith: .success) { [method] in
            try await withPinnedPod { world in
                let workload = world.pod.workload
                let backend = try await world.load(inbound: method)
                try await backend.apply(world.pod.plan, to: workload)
                // The pod's answers are lost on the way, until they are not.
                let lose =
                    "add table inet t; add chain inet t c { type filter hook input priority 0; };"
                    + "add rule inet t c tcp flags & (syn | ack) == (syn | ack) drop"
                #expect(try StockTool.run("nft", lose, in: world.pod.peer).status == 0)
                let client = try world.pod.peer.run { () throws(KernelError) in
                    try Socket.open(.tcp, .ipv4)
                }
                // The kernel goes on trying when connect(2) has waited for long enough.
                try client.setTimeout(.milliseconds(50))
                let destination = Endpoint(world.pod.address(.ipv4), 8080)
                let error = #expect(throws: KernelError.self) {
                    try client.connect(to: destination)
                }
                #expect(error?.errno == .nowInProgress)
                try await waitUntil {
                    try ConnectedSocket.all(in: world.pod.namespace).contains(where: \.isBeginning)
                }
                #expect(try await backend.retire(from: workload) != .complete)
                #expect(
                    try StockTool.run("nft", "delete table inet t", in: world.pod.peer).status == 0)
                let accepted = try world.inbound.socket.accept()
                #expect(try accepted.originalDestination(.ipv4) == destination)
                #expect(try accepted.peerEndpoint() == client.localEndpoint())
                try await backend.remove(from: workload)
            }
        }
    }

    /// What the kernel answers for the application's socket goes by the route to `::1`.
    @Test(.timeLimit(.minutes(2)))
    func `a sidecar's end on loopback is waited for when the application's has gone`() async {
        await #expect(processExitsWith: .success) {
            try await withPinnedPod { world in
                let (workload, namespace) = (world.pod.workload, world.pod.namespace)
                // As short a memory of closed sockets as there is.
                let words = ["sysctl", "-qw", "net.ipv4.tcp_fin_timeout=1"]
                #expect(try StockTool.run(words, in: namespace).status == 0)
                let listener = try namespace.listen(.ipv6, 15001, as: .sidecar)
                let backend = try await world.load()
                try await backend.apply(world.pod.plan, to: workload)
                var client: Socket? = try namespace.connect(
                    to: Endpoint(world.pod.peerAddress(.ipv6), 8080))
                var server: Socket? = try listener.accept()
                #expect(client != nil && server != nil)
                client = nil
                try await waitUntil {
                    try ConnectedSocket.all(in: namespace)
                        .allSatisfy { $0.remote.address != .loopback(.ipv6) }
                }
                #expect(try await backend.retire(from: workload) == .lingering(connections: 1))
                #expect(try LoopbackReturn.remains(in: namespace).count == 1)
                server = nil
                try await waitForRetirement(of: workload, by: backend)
                #expect(try LoopbackReturn.remains(in: namespace) == [])
            }
        }
    }

    @Test(.timeLimit(.minutes(2)))
    func `a qdisc of somebody else stays when the filters go`() async {
        await #expect(processExitsWith: .success) {
            try await withPinnedPod { world in
                let workload = world.pod.workload
                let add = ["tc", "qdisc", "add", "dev", "eth0", "clsact"]
                #expect(try StockTool.run(add, in: world.pod.namespace).status == 0)
                do {
                    let first = try await world.load(inbound: .trafficControl)
                    try await first.apply(world.pod.plan, to: workload)
                }
                let second = try await world.load(inbound: .trafficControl)
                #expect(try await second.retire(from: workload) == .complete)
                let qdiscs = try StockTool.run(
                    "tc", "qdisc", "show", "dev", "eth0", in: world.pod.namespace)
                #expect(qdiscs.output.contains("clsact"))
                let filters = try StockTool.run(
                    "tc", "filter", "show", "dev", "eth0", "ingress", in: world.pod.namespace)
                #expect(!filters.output.contains("swerve"), "\(filters.output)")
            }
        }
    }
}

/// New connections go past the sidecar, both ways.
private func checkPassing(_ world: PinnedWorld) throws {
    let destination = Endpoint(world.pod.peerAddress(.ipv4), 8080)
    let server = try world.pod.peer.listen(.ipv4, 8080)
    let client = try world.pod.namespace.connect(to: destination)
    #expect(try server.accept().peerEndpoint() == client.localEndpoint())
    let application = try world.pod.namespace.listen(.ipv4, 8080)
    let caller = try world.pod.peer.connect(to: Endpoint(world.pod.address(.ipv4), 8080))
    #expect(try application.accept().peerEndpoint() == caller.localEndpoint())
}

private func waitForRetirement(of workload: Workload, by backend: EBPFBackend) async throws {
    try await waitUntil { try await backend.retire(from: workload) == .complete }
}
