// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import KernelTestSupport
import LibBPF
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import Testing

/// A cleanup finds what is ours without a record of it, and leaves alone what is not.
@Suite(.requiresKernel) struct SweeperTests {
    @Test(.timeLimit(.minutes(2)), arguments: InboundMethod.allCases)
    func `everything of ours is found and removed, and nothing of others`(
        _ method: InboundMethod
    ) async {
        await #expect(processExitsWith: .success) { [method] in
            try await withPinnedPod { world in
                let foreign = try BPFProgram.load(
                    .cgroupSocketAddress, .connect4, instructions: [.returnValue(1), .exit],
                    name: "somebody")
                let link = try BPFLink.attach(foreign, to: world.cgroup, .connect4)
                var plan = world.pod.plan
                if method == .socketLookup {
                    plan.inboundMode = .transparent(mark: 7, table: 133)
                }
                do {
                    let backend = try await world.load(inbound: method)
                    try await backend.apply(plan, to: world.pod.workload)
                }
                let sweeper = EBPFSweeper(pins: world.pins)
                let (node, namespace) = (world.node, world.pod.namespace)
                let inside = try await sweeper.remains(in: namespace, named: "pod")
                let parts: Set<KernelPart> =
                    method == .socketLookup ? [.program, .routing] : [.program, .qdisc, .routing]
                #expect(Set(inside.map(\.part)) == parts, "\(inside)")
                let outside = try await sweeper.remains(on: node)
                #expect(Set(outside.map(\.part)) == [.program, .pin], "\(outside)")
                #expect(!outside.contains { $0.what == "somebody" }, "\(outside)")

                try await sweeper.sweep(namespace, named: "pod")
                #expect(try await sweeper.remains(in: namespace, named: "pod") == [])
                try await sweeper.sweep(node)
                #expect(try await sweeper.remains(on: node) == [], "swept")
                #expect(!Directory(path: world.pins).exists)
                let programs = try BPFLink.programs(on: world.cgroup, .connect4)
                #expect(programs == [foreign.id], "\(programs), \(foreign.id)")
                let qdiscs = try StockTool.run("tc", "qdisc", "show", in: namespace)
                #expect(!qdiscs.output.contains("clsact"))
                withExtendedLifetime(link) {}
            }
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `pins of others survive a cleanup, and a directory of files is refused`() async {
        await #expect(processExitsWith: .success) {
            try await withPinnedPod { world in
                do { _ = try await world.load() }
                let pins = Directory(path: world.pins)
                for name in ["somebody", "v1beta", "building-site"] {
                    try pins.child(name).create()
                    let map = try BPFMap.createArray(name: "theirs", valueSize: 4, entries: 1)
                    try map.pin(at: pins.child(name).path + "/map")
                }
                let sweeper = EBPFSweeper(pins: world.pins)
                try await sweeper.sweep(world.node)
                #expect(try await sweeper.remains(on: world.node) == [])
                #expect(pins.names() == ["building-site", "somebody", "v1beta"])
                #expect(pins.child("somebody").has("map"))

                let plain = Directory(path: TemporaryFile().path)
                try plain.child("v1").create()
                try plain.replace("hosts", with: "x")
                let node = Node(cgroup: world.cgroup, pins: plain.path, state: "")
                let error = await #expect(throws: RedirectionError.self) {
                    try await sweeper.sweep(node)
                }
                #expect(String(describing: error).contains(plain.path))
                #expect(plain.names() == ["hosts", "v1"])
                try plain.removeTree()
            }
        }
    }

    /// What is pinned, by a process that is killed before its pins are whole, and what is not.
    @Test(.timeLimit(.minutes(2)))
    func `programs that no pin leads to are found, in cgroups below as well`() async {
        await #expect(processExitsWith: .success) {
            try await withPinnedPod { world in
                let below = world.cgroup.child("below")
                try below.create()
                let ours = try BPFProgram.load(
                    .cgroupSocketAddress, .connect4, instructions: [.returnValue(1), .exit],
                    name: "swerve_connect4")
                let linked = try BPFLink.attach(ours, to: below, .connect4)
                let unlinked = try BPFLink.attachWithoutLink(ours, to: world.cgroup, .connect4)
                let sweeper = EBPFSweeper(pins: world.pins)
                let found = try await sweeper.remains(on: world.node)
                #expect(Set(found.map(\.place)) == [below.path, world.cgroup.path])
                try await sweeper.sweep(world.node)
                #expect(try BPFLink.programs(on: below, .connect4) == [])
                #expect(try BPFLink.programs(on: world.cgroup, .connect4) == [])
                withExtendedLifetime((linked, unlinked)) {}
                try below.remove()
            }
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a bpf filesystem is mounted where there is none, and told from others`() async throws {
        let place = TemporaryFile()
        try Directory(path: place.path).create()
        #expect(try !BPFFileSystem.contains(place.path))
        #expect(try !BPFFileSystem.contains(place.path + "/nothing"))
        try BPFFileSystem.mount(on: place.path)
        let isThere = try BPFFileSystem.contains(place.path)
        let own = try NetworkNamespace.current()
        #expect(try StockTool.run("umount", place.path, in: own).status == 0)
        #expect(isThere)
        #expect(try !BPFFileSystem.contains(place.path))
    }
}
