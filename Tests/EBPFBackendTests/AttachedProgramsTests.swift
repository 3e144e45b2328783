// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import KernelTestSupport
import LibBPF
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// Programs on a workload's own cgroup, attached as before Linux 5.7: nothing but a cgroup holds them.
@Suite(.requiresKernel) struct AttachedProgramsTests {
    private static let old = FeatureCeiling(KernelVersion(5, 4))

    /// A pod, its cgroup, and a bpf filesystem.
    private struct World {
        let node: Cgroup
        let pod: TestPod
        let own: Cgroup

        init(_ node: Cgroup) throws {
            self.node = node
            pod = try TestPod.create()
            own = try #require(pod.workload.cgroup)
        }

        func load(
            pinning files: TestBPFFileSystem?, version: UInt32? = nil
        ) async throws -> EBPFBackend {
            try await EBPFBackend.load(
                attachingTo: node, below: AttachedProgramsTests.old,
                pins: files.map { BPFPins(in: $0.path + "/swerve", version: version) })
        }

        /// Redirects the pod by a backend that then ends.
        func applyAndEnd(pinning files: TestBPFFileSystem?, version: UInt32? = nil) async throws {
            try await load(pinning: files, version: version).apply(pod.plan, to: pod.workload)
        }

        /// Where the pod's program for connect(2) is pinned.
        func connectPin(_ files: TestBPFFileSystem) throws -> String {
            let name = "swerve_connect4"
            let path = files.tree().first { $0.hasSuffix("/attached/" + name) }
            return try files.path + "/" + #require(path)
        }

        /// The programs on the pod's cgroup, hook by hook.
        func programs() throws -> [[UInt32]] {
            try [
                BPFAttachType.connect4, .connect6, .sendmsg4, .sockOps, .getsockopt, .socketCreate,
            ]
            .map { try BPFLink.programs(on: own, $0) }
        }

        func checkRedirection() throws {
            let sidecar = try pod.namespace.listen(.ipv4, 15001, as: .sidecar)
            let origin = Endpoint(pod.peerAddress(.ipv4), 8080)
            let client = try pod.namespace.connect(to: origin)
            let accepted = try sidecar.accept()
            #expect(try accepted.originalDestination(.ipv4) == origin)
            #expect(try accepted.peerEndpoint() == client.localEndpoint())
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `the next process goes on with what is attached`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let world = try World(cgroup)
                let files = try TestBPFFileSystem()
                try await world.applyAndEnd(pinning: files)
                let programs = try world.programs()
                #expect(programs.allSatisfy { $0.count == 1 })
                try world.checkRedirection()
                let second = try await world.load(pinning: files)
                #expect(try await second.drift(from: world.pod.plan, in: world.pod.workload) == [])
                try await second.apply(world.pod.plan, to: world.pod.workload)
                #expect(try world.programs() == programs)
                try world.checkRedirection()
                try await second.remove(from: world.pod.workload)
                #expect(try world.programs().allSatisfy(\.isEmpty))
                let left = try await second.occupancy()
                #expect(left.values.allSatisfy { $0 == 0 }, "\(left)")
            }
        }
    }

    /// Programs that act on the same connection twice would lose its origin.
    @Test(.timeLimit(.minutes(5)))
    func `what a killed process has left on the cgroup is replaced`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let world = try World(cgroup)
                do {
                    let files = try TestBPFFileSystem()
                    try await world.applyAndEnd(pinning: files)
                }
                // The pins went with their filesystem; what they held in place did not.
                let orphans = try world.programs()
                #expect(orphans.allSatisfy { $0.count == 1 })
                let second = try await world.load(pinning: nil)
                try await second.apply(world.pod.plan, to: world.pod.workload)
                let programs = try world.programs()
                #expect(programs.allSatisfy { $0.count == 1 })
                #expect(zip(programs, orphans).allSatisfy { $0 != $1 })
                try world.checkRedirection()
                try await second.remove(from: world.pod.workload)
                #expect(try world.programs().allSatisfy(\.isEmpty))
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `a program that somebody detaches is missed, and comes back`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let world = try World(cgroup)
                let backend = try await world.load(pinning: nil)
                try await backend.apply(world.pod.plan, to: world.pod.workload)
                #expect(
                    try await backend.drift(from: world.pod.plan, in: world.pod.workload) == [])
                let id = try #require(try BPFLink.programs(on: world.own, .connect4).first)
                let program = try BPFProgram.open(id: id)
                #expect(try BPFLink.detach(program, from: world.own, .connect4))
                let drift = try await backend.drift(
                    from: world.pod.plan, in: world.pod.workload)
                #expect(drift.map(\.part) == [.program])
                #expect(drift.first?.detail.contains("swerve_connect4") == true)
                try await backend.apply(world.pod.plan, to: world.pod.workload)
                #expect(
                    try await backend.drift(from: world.pod.plan, in: world.pod.workload) == [])
                try world.checkRedirection()
                try await backend.remove(from: world.pod.workload)
            }
        }
    }

    /// One that is killed between attaching a program and pinning it.
    @Test(.timeLimit(.minutes(5)))
    func `a single program without a pin is not attached twice`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let world = try World(cgroup)
                let files = try TestBPFFileSystem()
                try await world.applyAndEnd(pinning: files)
                let orphan = try world.programs()
                let (pins, pin) = splitPath(try world.connectPin(files))
                try Directory(path: pins).remove(pin)
                let second = try await world.load(pinning: files)
                try await second.apply(world.pod.plan, to: world.pod.workload)
                let programs = try world.programs()
                #expect(programs.allSatisfy { $0.count == 1 }, "\(programs)")
                #expect(programs[0] != orphan[0] && programs[1] == orphan[1])
                try world.checkRedirection()
                try await second.forget(allBut: [])
                #expect(try world.programs().allSatisfy(\.isEmpty))
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `a pinned program of another build is told of and replaced`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let world = try World(cgroup)
                let files = try TestBPFFileSystem()
                let (plan, workload) = (world.pod.plan, world.pod.workload)
                do {
                    try await world.applyAndEnd(pinning: files)
                    let id = try #require(try BPFLink.programs(on: world.own, .connect4).first)
                    try BPFLink.detach(try BPFProgram.open(id: id), from: world.own, .connect4)
                    let (pins, pin) = splitPath(try world.connectPin(files))
                    try Directory(path: pins).remove(pin)
                    let other = try BPFProgram.load(
                        .cgroupSocketAddress, .connect4,
                        instructions: [.returnValue(1), .exit], name: "swerve_connect4")
                    let link = try BPFLink.attachWithoutLink(other, to: world.own, .connect4)
                    try link.pin(at: pins + "/" + pin)
                }
                let second = try await world.load(pinning: files)
                let drift = try await second.drift(from: plan, in: workload)
                #expect(drift.map(\.kind) == [.changed], "\(drift)")
                #expect(drift.first?.detail.contains("swerve_connect4") == true)
                try await second.apply(plan, to: workload)
                #expect(try world.programs().allSatisfy { $0.count == 1 })
                #expect(try await second.drift(from: plan, in: workload) == [])
                try world.checkRedirection()
                try await second.remove(from: workload)
                #expect(try world.programs().allSatisfy(\.isEmpty))
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `a newer version replaces the programs, and forgets what nobody knows`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let world = try World(cgroup)
                let files = try TestBPFFileSystem()
                try await world.applyAndEnd(pinning: files, version: 7)
                let old = try world.programs()
                do {
                    let second = try await world.load(pinning: files, version: 8)
                    #expect(try world.programs() == old)
                    try world.checkRedirection()
                    try await second.apply(world.pod.plan, to: world.pod.workload)
                }
                let new = try world.programs()
                #expect(new.allSatisfy { $0.count == 1 } && new[0] != old[0], "\(new), \(old)")
                try world.checkRedirection()
                let pins = BPFPins(in: files.path + "/swerve", version: 8)
                let refusal = await #expect(throws: RedirectionError.self) {
                    _ = try await EBPFBackend.load(attachingTo: cgroup, pins: pins)
                }
                #expect(String(describing: refusal).contains("attachment"), "\(refusal)")
                let third = try await world.load(pinning: files, version: 8)
                try await third.forget(allBut: [])
                #expect(try world.programs().allSatisfy(\.isEmpty))
            }
        }
    }
}

/// The directory, and the name in it.
private func splitPath(_ path: String) -> (String, String) {
    let end = path.lastIndex(of: "/") ?? path.startIndex
    return (String(path[..<end]), String(path[end...].dropFirst()))
}
