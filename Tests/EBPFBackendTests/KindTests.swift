// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import KernelTestSupport
import LibBPF
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// Programs that know the kernel's types, and others, in each other's place under connections.
@Suite(.requiresKernel, .needsKernelTypes) struct KindTests {
    /// What another process loads after the first: a newer version, or another build of it.
    @Test(.timeLimit(.minutes(2)), arguments: [true, false])
    func `those that know the types go on with entries and storages of the others`(
        _ isNewer: Bool
    ) async {
        await #expect(processExitsWith: .success) { [isNewer] in
            try await withPinnedPod { world in
                let lasting = try await world.connectAndEnd(
                    version: 7, build: 1, owners: .realUser)
                let begun = try world.begin()
                let second = try await world.load(
                    version: isNewer ? 8 : 7, build: 2, owners: .credentials)
                try await second.apply(world.pod.plan, to: world.pod.workload)
                let before = try await second.occupancy()
                #expect(before["swerve_handshakes"] == 1 && before["swerve_handovers"] == 0)
                try world.checkEnd(of: begun)
                try world.check(lasting)
                let new = try world.connectOut()
                let after = try await second.occupancy()
                #expect(after["swerve_handshakes"] == 0 && after["swerve_handovers"] == 1)
                #expect(try new.originPort(.ipv4) == 8080)
                #expect(try await second.drift(from: world.pod.plan, in: world.pod.workload) == [])
                try await second.remove(from: world.pod.workload)
                try world.check(lasting)
            }
        }
    }

    /// They would not find what there is; so whoever wants them is told, and nothing changes.
    @Test(.timeLimit(.minutes(2)), arguments: [true, false])
    func `those that know the types are not replaced by others`(_ isNewer: Bool) async {
        await #expect(processExitsWith: .success) { [isNewer] in
            try await withPinnedPod { world in
                let lasting = try await world.connectAndEnd(
                    version: 7, build: 1, owners: .credentials)
                let begun = try world.begin()
                let before = try BPFLink.programs(on: world.cgroup, .connect4)
                let error = await #expect(throws: RedirectionError.self) {
                    _ = try await world.load(
                        version: isNewer ? 8 : 7, build: 2, owners: .realUser)
                }
                #expect(String(describing: error).contains("`swerve cleanup`"), "\(error as Any)")
                #expect(try BPFLink.programs(on: world.cgroup, .connect4) == before)
                try world.checkEnd(of: begun)
                try world.check(lasting)
                try world.checkRedirection()
                // A build that can have them goes on.
                let third = try await world.load(
                    version: isNewer ? 8 : 7, build: 2, owners: .credentials)
                try await third.apply(world.pod.plan, to: world.pod.workload)
                try world.check(lasting)
                #expect(try await third.occupancy()["swerve_handovers"] == 1)
                try await third.remove(from: world.pod.workload)
            }
        }
    }
}

extension PinnedWorld {
    /// A connection whose SYN is lost for now.
    fileprivate func begin() throws -> Socket {
        try pod.lose(true)
        return try pod.beginConnection(to: Endpoint(pod.peerAddress(.ipv4), 8080))
    }

    /// Its SYN is sent again, and arrives.
    fileprivate func checkEnd(of begun: borrowing Socket) throws {
        try pod.lose(false)
        let server = try outbound.socket.accept()
        #expect(try server.peerEndpoint() == begun.localEndpoint())
        #expect(try server.originalDestination(.ipv4) == Endpoint(pod.peerAddress(.ipv4), 8080))
    }
}
