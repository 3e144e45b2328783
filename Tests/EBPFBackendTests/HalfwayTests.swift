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
    @Test(.timeLimit(.minutes(2)))
    func `with a map full of handshakes a plan is applied, and no connection gets a wrong origin`()
        async
    {
        await #expect(processExitsWith: .success) {
            try await withPinnedPod { world in
                let backend = try await world.load()
                let path = "\(world.pins)/v\(SWERVE_ABI_VERSION)/maps/swerve_handshakes"
                let map = try #require(try BPFMap.open(pinned: path, name: "swerve_handshakes"))
                let keys = (0..<UInt32(map.maxEntries)).map { number in
                    var key = swerve_handshake_key()
                    key.addr.word.0 = number + 1
                    return key
                }
                try map.update(
                    keys: keys,
                    values: [swerve_handshake](repeating: .init(), count: keys.count))
                try await backend.apply(world.pod.plan, to: world.pod.workload)
                #expect(try await backend.drift(from: world.pod.plan, in: world.pod.workload) == [])
                let outbound = try world.connectOut()
                #expect(try await backend.failures()["handshakes full"] == 1)
                #expect(throws: KernelError.self) { try outbound.server.originalDestination(.ipv4) }
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
