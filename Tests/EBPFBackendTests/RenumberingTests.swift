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

/// New connections that would share the ports of one that NAT redirected before the programs did.
@Suite(.requiresKernel) struct RenumberingTests {
    @Test(.timeLimit(.minutes(2)), arguments: AddressFamily.allCases, [false, true])
    func `a connection that NAT gives another port keeps its origin`(
        _ family: AddressFamily, _ isAttached: Bool
    ) async {
        await #expect(processExitsWith: .success) { [family, isAttached] in
            try await withTestCgroup { cgroup in
                let scene = try Scene(family)
                let old = try scene.connect(8080)
                #expect(try old.origin(family) == scene.destination(8080))
                let backend = try await scene.apply(to: cgroup, isAttached)
                #expect(try scene.flags() & UInt32(SWERVE_POD_RENUMBERED.rawValue) != 0)
                #expect(try await backend.drift(from: scene.pod.plan, in: scene.pod.workload) == [])
                let others = try scene.beginOthers()
                let new = try scene.connect(8081)
                #expect(try new.client.localEndpoint() == scene.source)
                let seen = try new.server.peerEndpoint()
                #expect(seen.address == scene.source.address && seen.port != scene.source.port)
                #expect(try new.origin(family) == scene.destination(8081))
                #expect(try await backend.occupancy()["swerve_handshakes"] == others)
                try old.exchange("old")
                try new.exchange("new")
            }
        }
    }

    /// By tc, the programs choose the port, and not one that NAT would change.
    @Test(.timeLimit(.minutes(2)), arguments: AddressFamily.allCases)
    func `an inbound connection keeps out of the way of NAT`(_ family: AddressFamily) async {
        await #expect(processExitsWith: .success) { [family] in
            try await withTestCgroup { cgroup in
                let scene = try Scene(family, .inbound)
                let old = try scene.connect(8080)
                #expect(try old.origin(family) == scene.destination(8080))
                let backend = try await scene.apply(to: cgroup, false)
                #expect(try await backend.occupancy()["swerve_flows"] == 1)
                let new = try scene.connect(8081)
                #expect(try new.origin(family) == scene.destination(8081))
                #expect(try new.server.peerEndpoint().port != scene.source.port)
                try old.exchange("old")
                try new.exchange("new")
                // NAT's connection is no reason to stay.
                try new.closeClientFirst()
                try await waitUntil {
                    try await backend.retire(from: scene.pod.workload) == .complete
                }
                #expect(try await backend.occupancy()["swerve_flows"] == 0)
                try old.exchange("still")
            }
        }
    }

    @Test(.timeLimit(.minutes(2)), arguments: [false, true])
    func `a refused connection leaves neither of its entries`(_ isAttached: Bool) async {
        await #expect(processExitsWith: .success) { [isAttached] in
            try await withTestCgroup { cgroup in
                var scene = try Scene(.ipv4)
                let old = try scene.connect(8080)
                let backend = try await scene.apply(to: cgroup, isAttached)
                scene.sidecar = nil
                #expect(throws: KernelError.self) {
                    _ = try scene.pod.namespace.connect(to: scene.destination(8081))
                }
                #expect(try await backend.occupancy()["swerve_handshakes"] == 0)
                #expect(try await backend.failures()["handshakes full"] == 0)
                try old.exchange("old")
            }
        }
    }

    /// The SYN is repeated meanwhile, which makes no third.
    @Test(.timeLimit(.minutes(2)), arguments: [false, true])
    func `without such connections there is no second entry`(_ isNumbered: Bool) async {
        await #expect(processExitsWith: .success) { [isNumbered] in
            try await withTestCgroup { cgroup in
                let scene = try Scene(.ipv4)
                var old: Connection? = try scene.connect(8080)
                _ = try await scene.apply(to: cgroup, false)
                if !isNumbered {
                    // Broken off, nothing of it stays that NAT could take care of.
                    try old?.client.resetOnClose()
                    old = nil
                }
                let backend = try await scene.apply(to: cgroup, false)
                let flag = try scene.flags() & UInt32(SWERVE_POD_RENUMBERED.rawValue)
                #expect((flag != 0) == isNumbered)
                let client = try scene.beginConnection(8081)
                let begun = try await backend.occupancy()
                let places = begun["swerve_handovers"]
                let without = places == nil ? 1 : 0
                #expect(begun["swerve_handshakes"] == (isNumbered ? 2 : without))
                #expect(places ?? 1 == (isNumbered && places != nil ? 0 : 1))
                try scene.pod.lose(false)
                let server = try #require(scene.sidecar).socket.accept()
                #expect(try server.originalDestination(.ipv4) == scene.destination(8081))
                #expect(try server.peerEndpoint() == client.localEndpoint())
                #expect(try await backend.occupancy()["swerve_handshakes"] == 0)
                try old?.exchange("old")
            }
        }
    }

    @Test(.timeLimit(.minutes(2)), arguments: [false, true])
    func `a handshake in flight goes with its pod's own programs, or with its socket`(
        _ isAttached: Bool
    ) async {
        await #expect(processExitsWith: .success) { [isAttached] in
            try await withTestCgroup { cgroup in
                let scene = try Scene(.ipv4)
                let backend = try await scene.apply(to: cgroup, isAttached)
                do {
                    let client = try scene.beginConnection(8081)
                    let begun = try await backend.occupancy()
                    let hasPlaces = !isAttached && begun["swerve_handovers"] != nil
                    let map = hasPlaces ? "swerve_handovers" : "swerve_handshakes"
                    #expect(begun[map] == 1)
                    try await backend.remove(from: scene.pod.workload)
                    let left = try await backend.occupancy()[map]
                    #expect(left == (isAttached ? 0 : 1))
                    #expect(try client.localEndpoint().port != 0)
                }
                let left = try await backend.occupancy()
                #expect(left.values.allSatisfy { $0 == 0 }, "\(left)")
            }
        }
    }

    @Test(.timeLimit(.minutes(2)))
    func `the handshakes of a pod that is gone go with the next process`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let scene = try Scene(.ipv4)
                do {
                    let backend = try await scene.apply(to: cgroup, false)
                    try await backend.remove(from: scene.pod.workload)
                }
                // One may be in flight in a cgroup that is there, though it has no entry.
                for pod in [try cgroup.id() | 1 << 63, 1 << 62] {
                    var key = swerve_handshake_key()
                    key.pod = pod
                    key.port = 1
                    try scene.map("swerve_handshakes").update(key, swerve_handshake())
                }
                let backend = try await scene.apply(to: cgroup, false)
                #expect(try await backend.occupancy()["swerve_handshakes"] == 1)
            }
        }
    }
}

/// A pod with somebody's rules, which redirect what goes to port 8080 elsewhere.
private struct Scene {
    let family: AddressFamily
    let pod: TestPod
    let files: TestBPFFileSystem
    var sidecar: PinnedWorld.Held?
    let direction: Direction
    /// Where every connection comes from.
    let source: Endpoint

    init(_ family: AddressFamily, _ direction: Direction = .outbound) throws {
        self.family = family
        self.direction = direction
        pod = try TestPod.create()
        files = try TestBPFFileSystem()
        let isOutbound = direction == .outbound
        let port: UInt16 = isOutbound ? 15001 : 15003
        sidecar = PinnedWorld.Held(try pod.namespace.listen(family, port, as: .sidecar))
        source = Endpoint(isOutbound ? pod.address(family) : pod.peerAddress(family), 40001)
        let rules = """
            table inet other {
                chain redirection {
                    type nat hook \(isOutbound ? "output" : "prerouting") priority -100;
                    tcp dport 8080 redirect to :\(port)
                }
            }
            """
        let result = try StockTool.run("nft", "-f", "-", input: rules, in: pod.namespace)
        #expect(result.status == 0, "\(result.output)")
    }

    func destination(_ port: UInt16) -> Endpoint {
        Endpoint(direction == .outbound ? pod.peerAddress(family) : pod.address(family), port)
    }

    func connect(_ port: UInt16) throws -> Connection {
        let place = direction == .outbound ? pod.namespace : pod.peer
        let client = try place.connect(to: destination(port), from: source)
        return Connection(client: client, server: try #require(sidecar).socket.accept())
    }

    /// A connection from the pod whose SYN is lost for as long as `lose` says.
    func beginConnection(_ port: UInt16) throws -> Socket {
        try pod.lose(true)
        return try pod.beginConnection(to: destination(port))
    }

    func apply(to cgroup: Cgroup, _ isAttached: Bool) async throws -> EBPFBackend {
        let backend = try await EBPFBackend.load(
            attachingTo: cgroup,
            inbound: direction == .inbound ? .trafficControl : nil,
            below: isAttached ? FeatureCeiling(KernelVersion(5, 4)) : .none,
            pins: BPFPins(in: files.path + "/swerve"))
        try await backend.apply(pod.plan, to: pod.workload)
        return backend
    }

    func map(_ name: String) throws -> BPFMap {
        let path = "\(files.path)/swerve/v\(SWERVE_ABI_VERSION)/maps/\(name)"
        return try #require(try BPFMap.open(pinned: path, name: name))
    }

    private func key() throws -> UInt64 {
        try #require(try map("swerve_pods").keys(as: UInt64.self).first)
    }

    /// Those of the pod's entry.
    func flags() throws -> UInt32 {
        try #require(try map("swerve_pods").lookup(key(), as: swerve_pod.self)).flags
    }

    /// As if a connection were on its way from every port that NAT could choose; returns how many.
    func beginOthers() throws -> Int {
        var key = swerve_handshake_key()
        key.pod = try self.key()
        key.sidecar_port = UInt16(15001).bigEndian
        let words = (0..<4).map { index in
            source.address.bytes[(4 * index)..<(4 * index + 4)].reduce(UInt32(0)) {
                $0 << 8 | UInt32($1)
            }.bigEndian
        }
        key.addr.word = (words[0], words[1], words[2], words[3])
        var handshake = swerve_handshake()
        handshake.origin.port = UInt16(9).bigEndian
        var keys: [swerve_handshake_key] = []
        var handshakes: [swerve_handshake] = []
        for port in 1...UInt16.max where port != source.port {
            key.port = port.bigEndian
            handshake.port = key.port
            keys.append(key)
            handshakes.append(handshake)
        }
        try map("swerve_handshakes").update(keys: keys, values: handshakes)
        return keys.count
    }
}
