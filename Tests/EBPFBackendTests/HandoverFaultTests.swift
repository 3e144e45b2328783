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

/// Places whose owners have died unseen, or are not who they were.
@Suite(.requiresKernel, .needsKernelTypes) struct HandoverFaultTests {
    /// Nobody told the programs that its socket closed.
    @Test(.timeLimit(.minutes(2)), arguments: AddressFamily.allCases)
    func `a place that was left behind serves no other connection, and is used again`(
        _ family: AddressFamily
    ) async {
        await #expect(processExitsWith: .success) { [family] in
            try await withHandoverScene(family) { scene in
                var left = try scene.placeOfBegun(8080)
                #expect(try await scene.occupied() == [0, 0])
                left.value.owner = 1
                left.value.origin.port = UInt16(9).bigEndian
                try scene.put(left.value, at: left.index)
                try scene.pod.lose(false)
                do {
                    let client = try scene.connect(8081, from: scene.source)
                    let server = try scene.held.socket.accept()
                    #expect(try server.peerEndpoint() == scene.source)
                    #expect(try server.originalDestination(family) == scene.destination(8081))
                    #expect(try await scene.occupied() == [1, 0])
                    #expect(try client.peerEndpoint() == scene.destination(8081))
                }
                try await waitUntil { try await scene.occupied() == [0, 0] }
            }
        }
    }

    /// Its entry is what the sidecar's socket has to find.
    @Test(.timeLimit(.minutes(2)))
    func `who goes by a handshake leaves no place behind that has its ports`() async {
        await #expect(processExitsWith: .success) {
            try await withHandoverScene(.ipv4) { scene in
                try scene.leavePlaceBehind()
                try scene.number()
                let client = try scene.connect(8081, from: scene.source)
                let server = try scene.held.socket.accept()
                #expect(try server.originalDestination(.ipv4) == scene.destination(8081))
                #expect(try await scene.occupied() == [0, 0])
                withExtendedLifetime(client) {}
            }
        }
    }

    /// It is not redirected, for it goes to loopback.
    @Test(.timeLimit(.minutes(2)))
    func `who dials the sidecar from the ports of a place that was left has no origin`() async {
        await #expect(processExitsWith: .success) {
            try await withHandoverScene(.ipv4) { scene in
                try scene.leavePlaceBehind()
                let sidecar = Endpoint(.loopback(.ipv4), 15001)
                let client = try scene.pod.namespace.connect(to: sidecar, from: scene.source)
                let server = try scene.held.socket.accept()
                #expect(try server.peerEndpoint() == scene.source)
                #expect(throws: KernelError.self) { try server.originalDestination(.ipv4) }
                withExtendedLifetime(client) {}
            }
        }
    }

    /// The plan says so by the time the SYN is answered: NAT has connections.
    @Test(.timeLimit(.minutes(2)), arguments: [true, false])
    func `where NAT may renumber, a place is known by the sequence number alone`(
        _ isOwn: Bool
    ) async {
        await #expect(processExitsWith: .success) { [isOwn] in
            try await withHandoverScene(.ipv4) { scene in
                try scene.pod.lose(true)
                let client = try scene.beginConnection(8080, from: scene.source)
                var place = try scene.place()
                #expect(place.value.isn != 0)
                try scene.number()
                if !isOwn {
                    place.value.isn &+= 1
                    try scene.put(place.value, at: place.index)
                }
                try scene.pod.lose(false)
                let server = try scene.held.socket.accept()
                #expect(try server.peerEndpoint() == scene.source)
                let origin = try? server.originalDestination(.ipv4)
                #expect(origin == (isOwn ? scene.destination(8080) : nil))
                withExtendedLifetime(client) {}
            }
        }
    }

    @Test(.timeLimit(.minutes(2)), arguments: [HandoverScene.Holder.offered, .accepted])
    func `places of a pod that is gone are taken when they are needed`(
        _ holder: HandoverScene.Holder
    ) async {
        await #expect(processExitsWith: .success) { [holder] in
            try await withHandoverScene(.ipv4) { scene in
                let count = try scene.fill(holder, of: 1 << 62)
                do {
                    let client = try scene.connect(8080)
                    let server = try scene.held.socket.accept()
                    #expect(try server.originalDestination(.ipv4) == scene.destination(8080))
                    #expect(try await scene.occupied() == [count, 0])
                    #expect(try client.peerEndpoint() == scene.destination(8080))
                }
                try await waitUntil { try await scene.occupied() == [count - 1, 0] }
                #expect(try await scene.backend.failures()["handovers full"] == 0)
            }
        }
    }

    @Test(.timeLimit(.minutes(2)))
    func `a place that is being filled is left alone, whoever had it before`() async {
        await #expect(processExitsWith: .success) {
            try await withHandoverScene(.ipv4) { scene in
                let count = try scene.fill(.claimed, of: 1 << 62)
                let client = try scene.connect(8080)
                let server = try scene.held.socket.accept()
                #expect(try server.originalDestination(.ipv4) == scene.destination(8080))
                #expect(try await scene.occupied() == [count, 0])
                #expect(try await scene.backend.failures()["handovers full"] == 1)
                withExtendedLifetime(client) {}
            }
        }
    }

    /// Programs of both see its sockets: its own, and the node's, which have no plan for it.
    @Test(.timeLimit(.minutes(2)), arguments: [false, true])
    func `a workload that is a cgroup leaves neither places nor handshakes`(
        _ isAccepted: Bool
    ) async {
        await #expect(processExitsWith: .success) { [isAccepted] in
            try await withTestCgroup { cgroup in
                let pod = try TestPod.create()
                let own = try #require(pod.workload.cgroup)
                let workload = Workload(
                    id: "cgroup", cgroup: own, in: pod.workload.namespace)
                let backend = try await EBPFBackend.load(
                    attachingTo: cgroup, owners: .credentials)
                var plan = pod.plan
                plan.inbound.includedPorts = []
                try await backend.apply(plan, to: workload)
                let destination = Endpoint(pod.peerAddress(.ipv4), 8080)
                if isAccepted {
                    let sidecar = try pod.namespace.listen(.ipv4, 15001, as: .sidecar)
                    let client = try pod.namespace.connect(to: destination)
                    let server = try sidecar.accept()
                    #expect(try server.originalDestination(.ipv4) == destination)
                    withExtendedLifetime(client) {}
                } else {
                    let error = #expect(throws: KernelError.self) {
                        _ = try pod.namespace.connect(to: destination)
                    }
                    #expect(error?.errno == .connectionRefused)
                }
                let left = try await backend.occupancy()
                #expect(left["swerve_handshakes"] == 0 && left["swerve_handovers"] == 0)
                try await backend.remove(from: workload)
            }
        }
    }
}

extension HandoverScene {
    /// As if NAT had connections of the pod.
    fileprivate func number() throws {
        let pods = try map("swerve_pods")
        var entry = try #require(try pods.lookup(key(), as: swerve_pod.self))
        entry.flags |= UInt32(SWERVE_POD_RENUMBERED.rawValue)
        try pods.update(key(), entry)
    }
}

extension HandoverScene {
    /// As if the application's socket had closed without the programs being told.
    fileprivate func leavePlaceBehind() throws {
        var left = try placeOfBegun(8080)
        left.value.owner = 1
        try put(left.value, at: left.index)
        try pod.lose(false)
    }
}
