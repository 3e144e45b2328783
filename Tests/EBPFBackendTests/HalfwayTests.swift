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

/// Maps without room, and steps that fail half-way.
@Suite(.requiresKernel) struct HalfwayTests {
    /// Where connections are numbered, each needs two entries, and there is room for one.
    @Test(.timeLimit(.minutes(2)), arguments: [false, true])
    func `with a map full of handshakes a plan is applied, and no connection gets a wrong origin`(
        _ isNumbered: Bool
    ) async {
        await #expect(processExitsWith: .success) { [isNumbered] in
            try await withPinnedPod { world in
                let backend = try await world.load()
                try world.fillHandshakes(leaving: isNumbered ? 1 : 0)
                try world.fillHandovers()
                try await backend.apply(world.pod.plan, to: world.pod.workload)
                #expect(try await backend.drift(from: world.pod.plan, in: world.pod.workload) == [])
                if isNumbered { try world.numberConnections() }
                let outbound = try world.connectOut()
                #expect(try await backend.failures()["handshakes full"] == 1)
                #expect(throws: KernelError.self) { try outbound.server.originalDestination(.ipv4) }
                try await backend.remove(from: world.pod.workload)
            }
        }
    }

    @Test(.timeLimit(.minutes(2)), arguments: [false, true])
    func `with a map full of handshakes nothing is connected from a client's address`(
        _ isNumbered: Bool
    ) async {
        await #expect(processExitsWith: .success) { [isNumbered] in
            try await withPinnedPod { world in
                let backend = try await world.load()
                var plan = world.pod.plan
                plan.inboundMode = .transparent(mark: 0x539, table: 133)
                try await backend.apply(plan, to: world.pod.workload)
                if isNumbered { try world.numberConnections() }
                let onward = try world.pod.namespace.run { () throws(KernelError) in
                    let socket = try withFilesystemOwner(.sidecar) { () throws(KernelError) in
                        try Socket.open(.tcp.nonBlocking, .ipv4)
                    }
                    try socket.set(.transparent4, to: 1)
                    try socket.bind(Endpoint(world.pod.peerAddress(.ipv4), 0))
                    return socket
                }
                try world.fillHandshakes(leaving: isNumbered ? 1 : 0)
                let before = try await backend.occupancy()["swerve_handshakes"]
                let error = #expect(throws: KernelError.self) {
                    try onward.connect(to: Endpoint(world.pod.address(.ipv4), 8080))
                }
                #expect(error?.errno == .notPermitted)
                #expect(try await backend.failures()["handshakes full"] == 1)
                #expect(try await backend.occupancy()["swerve_handshakes"] == before)
                try await backend.remove(from: world.pod.workload)
            }
        }
    }

    @Test(.timeLimit(.minutes(2)))
    func `a removal that failed half-way is completed by the next, in another process too`() async {
        await #expect(processExitsWith: .success) {
            try await withPinnedPod { world in
                let workload = world.pod.workload
                var links = try RouteNetlink.open(in: world.pod.namespace)
                let interface = try links.index(of: "eth0")
                let key = try world.pod.namespace.cookie()
                let pods = "\(world.pins)/v\(SWERVE_ABI_VERSION)/pods/\(key)"
                do {
                    let first = try await world.load(inbound: .trafficControl)
                    try await first.apply(world.pod.plan, to: workload)
                    // Where a directory says that the qdisc is ours, somebody puts a map.
                    let obstacle = try BPFMap.createArray(
                        name: "obstacle", valueSize: 8, entries: 1)
                    try Directory(path: "\(pods)/qdisc-\(interface)").removeTree()
                    try obstacle.pin(at: "\(pods)/qdisc-\(interface)")
                    await #expect(throws: RedirectionError.self) {
                        try await first.remove(from: workload)
                    }
                    #expect(try await first.installed(in: workload) == nil)
                    await #expect(throws: RedirectionError.self) {
                        try await first.remove(from: workload)
                    }
                }
                try Directory(path: pods).remove("qdisc-\(interface)")
                let second = try await world.load(inbound: .trafficControl)
                try await second.remove(from: workload)
                let left = try await second.occupancy()
                #expect(left.values.allSatisfy { $0 == 0 }, "\(left)")
                let sweeper = EBPFSweeper(pins: world.pins)
                #expect(try await sweeper.remains(in: world.pod.namespace, named: "pod") == [])
                #expect(!Directory(path: pods).exists)
            }
        }
    }
}

extension PinnedWorld {
    private func map(_ name: String) throws -> BPFMap {
        let path = "\(pins)/v\(SWERVE_ABI_VERSION)/maps/\(name)"
        return try #require(try BPFMap.open(pinned: path, name: name))
    }

    /// Fills the map with handshakes of nobody's, but for so many.
    fileprivate func fillHandshakes(leaving room: Int) throws {
        let map = try map("swerve_handshakes")
        let keys = (0..<UInt32(map.maxEntries - room)).map { number in
            var key = swerve_handshake_key()
            key.addr.word.0 = number + 1
            return key
        }
        try map.update(
            keys: keys, values: [swerve_handshake](repeating: .init(), count: keys.count))
    }

    /// As if somebody had all the places, by which a connection would do without a handshake.
    fileprivate func fillHandovers() throws {
        guard let map = try? map("swerve_handovers") else { return }
        var taken = swerve_handover()
        taken.owner = 1
        taken.pod = try pod.namespace.cookie()
        let count = map.maxEntries
        try map.update(
            keys: (0..<count).map(UInt32.init),
            values: [swerve_handover](repeating: taken, count: count))
    }

    /// As if NAT had connections of the pod.
    fileprivate func numberConnections() throws {
        let pods = try map("swerve_pods")
        let key = try pod.namespace.cookie()
        var entry = try #require(try pods.lookup(key, as: swerve_pod.self))
        entry.flags |= UInt32(SWERVE_POD_RENUMBERED.rawValue)
        try pods.update(key, entry)
    }
}
