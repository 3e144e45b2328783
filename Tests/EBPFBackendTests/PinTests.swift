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

/// What outlives a process, and how the next one goes on with it.
@Suite(.requiresKernel) struct PinTests {
    @Test(.timeLimit(.minutes(1)))
    func `programs and plans outlive the process, and the next one goes on with them`() async {
        await #expect(processExitsWith: .success) {
            try await withPinnedPod { world in
                let ids: [UInt32]
                do {
                    let first = try await world.load()
                    try await first.apply(world.pod.plan, to: world.pod.workload)
                    ids = try BPFLink.programs(on: world.cgroup, .connect4)
                }
                // Nobody holds anything but bpffs.
                #expect(try BPFLink.programs(on: world.cgroup, .connect4) == ids)
                try world.checkRedirection()

                let second = try await world.load()
                #expect(try BPFLink.programs(on: world.cgroup, .connect4) == ids)
                #expect(
                    try await second.installed(in: world.pod.workload)
                        == world.pod.plan.fingerprint)
                #expect(try await second.drift(from: world.pod.plan, in: world.pod.workload) == [])
                try world.checkRedirection()
                try await second.apply(world.pod.plan, to: world.pod.workload)
                #expect(try await second.occupancy()["swerve_port_sets"] == 1)
                try await second.remove(from: world.pod.workload)
                let left = try await second.occupancy()
                #expect(left.values.allSatisfy { $0 == 0 }, "\(left)")
            }
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a connection lives through the change of processes, with its origin and peer`() async {
        await #expect(processExitsWith: .success) {
            try await withPinnedPod { world in
                let lasting = try await world.connectAndEnd()
                try lasting.outbound.exchange("nobody")
                let second = try await world.load()
                try world.check(lasting)
                try await second.remove(from: world.pod.workload)
                try world.check(lasting)
            }
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `programs of another build take the place of the pinned ones, over the same maps`() async {
        await #expect(processExitsWith: .success) {
            try await withPinnedPod { world in
                let lasting = try await world.connectAndEnd(build: 1)
                let before = try BPFLink.programs(on: world.cgroup, .connect4)
                let second = try await world.load(build: 2)
                let after = try BPFLink.programs(on: world.cgroup, .connect4)
                #expect(before.count == after.count && Set(before).isDisjoint(with: after))
                #expect(try await second.drift(from: world.pod.plan, in: world.pod.workload) == [])
                try world.checkRedirection()
                try world.check(lasting)
                try await second.remove(from: world.pod.workload)
            }
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `an older program refuses newer pins, and says what to do`() async {
        await #expect(processExitsWith: .success) {
            try await withPinnedPod { world in
                do { _ = try await world.load(version: 8) }
                let before = world.files.tree()
                let error = await #expect(throws: RedirectionError.self) {
                    _ = try await world.load(version: 7)
                }
                let text = String(describing: error)
                #expect(text.contains("version 8") && text.contains("7"), "\(text)")
                #expect(text.contains("newer program") && text.contains("cleanup"), "\(text)")
                #expect(world.files.tree() == before)
            }
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a newer version takes the place of an older one, and connections live on`() async {
        await #expect(processExitsWith: .success) {
            try await withPinnedPod { world in
                let lasting = try await world.connectAndEnd(version: 7)
                let old = try BPFLink.programs(on: world.cgroup, .connect4)
                let second = try await world.load(version: 8)
                // Until the pod is known, the older version decides.
                #expect(try BPFLink.programs(on: world.cgroup, .connect4) == old)
                try world.checkRedirection()
                try await second.apply(world.pod.plan, to: world.pod.workload)
                let new = try BPFLink.programs(on: world.cgroup, .connect4)
                #expect(new.count == old.count && Set(new).isDisjoint(with: old))
                #expect(Directory(path: world.pins).names() == ["v8"])
                try world.checkRedirection()
                try world.check(lasting)
                #expect(try await second.drift(from: world.pod.plan, in: world.pod.workload) == [])
                try await second.remove(from: world.pod.workload)
                var left = try await second.occupancy()
                // That of the connection which lasts.
                #expect(left.removeValue(forKey: "swerve_handovers") ?? 1 == 1)
                try world.check(lasting)
                #expect(left.values.allSatisfy { $0 == 0 }, "\(left)")
            }
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a pod is let go at once while an older version waits for another`() async {
        await #expect(processExitsWith: .success) {
            try await withPinnedPod { world in
                let other = try TestPod.create("other", number: 1)
                do {
                    let first = try await world.load(version: 7)
                    try await first.apply(world.pod.plan, to: world.pod.workload)
                    try await first.apply(other.plan, to: other.workload)
                }
                // Without this pin, there are pods all the same.
                try Directory(path: world.pins + "/v7/maps").remove("swerve_pods")
                let old = try BPFLink.programs(on: world.cgroup, .connect4)
                let second = try await world.load(version: 8)
                #expect(try BPFLink.programs(on: world.cgroup, .connect4) == old)
                try world.checkRedirection()
                try await second.remove(from: world.pod.workload)
                #expect(try BPFLink.programs(on: world.cgroup, .connect4) == old)
                // Nobody listens there, but for the sidecar.
                #expect(throws: KernelError.self) { _ = try world.connectOut() }
                try await second.remove(from: other.workload)
                #expect(Directory(path: world.pins).names() == ["v8"])
            }
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `two processes cannot have the pins at once`() async {
        await #expect(processExitsWith: .success) {
            try await withPinnedPod { world in
                let first = try await world.load()
                await #expect(throws: RedirectionError.self) { _ = try await world.load() }
                withExtendedLifetime(first) {}
            }
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `pods that nobody knows any more are forgotten`() async {
        await #expect(processExitsWith: .success) {
            try await withPinnedPod { world in
                do {
                    let first = try await world.load()
                    try await first.apply(world.pod.plan, to: world.pod.workload)
                    let other = try TestPod.create("other", number: 1)
                    var plan = other.plan
                    plan.outbound.excludedPorts = [22]
                    try await first.apply(plan, to: other.workload)
                }
                // The other pod's namespace went with its last descriptor.
                let second = try await world.load()
                #expect(try await second.occupancy()["swerve_pods"] == 2)
                try await second.forget(allBut: [world.pod.workload])
                let counts = try await second.occupancy()
                #expect(counts["swerve_pods"] == 1 && counts["swerve_port_sets"] == 1)
                let pods = "\(world.pins)/v\(SWERVE_ABI_VERSION)/pods"
                #expect(Directory(path: pods).names().count == 1)
                try world.checkRedirection()
                try await second.remove(from: world.pod.workload)
            }
        }
    }
}
