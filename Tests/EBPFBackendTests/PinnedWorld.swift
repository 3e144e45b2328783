// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import Testing

/// A pod, its sidecar's listeners, and a bpf filesystem that outlives the backends of a test.
struct PinnedWorld {
    let cgroup: Cgroup
    let files: TestBPFFileSystem
    let pod: TestPod
    /// The sidecar's listeners, for outbound and inbound.
    let outbound: Held
    let inbound: Held

    var pins: String { files.path + "/swerve" }

    var node: Node { Node(cgroup: cgroup, pins: pins, state: "") }

    /// A socket in a struct that is copied.
    final class Held {
        let socket: Socket
        init(_ socket: consuming Socket) { self.socket = socket }
    }

    func load(
        version: UInt32? = nil, build: UInt64? = nil, inbound method: InboundMethod = .socketLookup,
        owners: OwnerMethod? = nil
    ) async throws(RedirectionError) -> EBPFBackend {
        try await EBPFBackend.load(
            attachingTo: cgroup, inbound: method, owners: owners,
            pins: BPFPins(in: pins, version: version, build: build))
    }

    /// Connections that are older than the backends of a test.
    struct Lasting: ~Copyable {
        let outbound: Connection
        let inbound: Connection
    }

    /// Redirects the pod by a backend that ends, with a connection each way by then.
    func connectAndEnd(
        version: UInt32? = nil, build: UInt64? = nil, owners: OwnerMethod? = nil
    ) async throws -> Lasting {
        let backend = try await load(version: version, build: build, owners: owners)
        try await backend.apply(pod.plan, to: pod.workload)
        return Lasting(outbound: try connectOut(), inbound: try connectIn())
    }

    func check(_ lasting: borrowing Lasting) throws(KernelError) {
        try check(outbound: lasting.outbound, inbound: lasting.inbound)
    }

    /// Connects from the application to the peer, and accepts at the sidecar.
    func connectOut() throws(KernelError) -> Connection {
        let client = try pod.namespace.connect(to: Endpoint(pod.peerAddress(.ipv4), 8080))
        return Connection(client: client, server: try outbound.socket.accept())
    }

    /// Connects from the peer to the application, and accepts at the sidecar.
    func connectIn() throws(KernelError) -> Connection {
        try Connection.open(pod, .ipv4, accepting: inbound.socket)
    }

    /// Both ends of both connections work, and say what they said.
    func check(
        outbound: borrowing Connection, inbound: borrowing Connection
    ) throws(KernelError) {
        try outbound.exchange("out")
        try inbound.exchange("in")
        let destination = Endpoint(pod.peerAddress(.ipv4), 8080)
        #expect(try outbound.origin(.ipv4) == destination)
        #expect(try outbound.client.peerEndpoint() == destination)
        #expect(try inbound.origin(.ipv4) == Endpoint(pod.address(.ipv4), 8080))
    }

    /// New connections come to the sidecar, from and to the pod.
    func checkRedirection() throws(KernelError) {
        try check(outbound: try connectOut(), inbound: try connectIn())
    }
}

/// Runs `body` in a cgroup of its own, with a pod and a bpf filesystem.
func withPinnedPod(_ body: (PinnedWorld) async throws -> Void) async throws {
    try await withTestCgroup { cgroup in
        let pod = try TestPod.create()
        try await body(
            PinnedWorld(
                cgroup: cgroup, files: try TestBPFFileSystem(), pod: pod,
                outbound: PinnedWorld.Held(
                    try pod.namespace.listen(.ipv4, 15001, as: .sidecar)),
                inbound: PinnedWorld.Held(
                    try pod.namespace.listen(.ipv4, 15003, as: .sidecar))))
    }
}
