// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import Testing

/// A sidecar that accepts as the application, and calls it as the client.
@Suite(.requiresKernel) struct TransparentInboundTests {
    @Test(.timeLimit(.minutes(5)))
    func `the sidecar sees client and destination, and the application sees the client`() async {
        await #expect(processExitsWith: .success) {
            try await FullPolicyTests.withPod {
                $0.inboundMode = .transparent(mark: 0x539, table: 133)
            } _: { pod, _ in
                for family in AddressFamily.allCases {
                    let sidecar = try pod.namespace.listen(family, 15003, as: .sidecar)
                    let application = try pod.namespace.listen(family, 8080)
                    let own = Endpoint(pod.address(family), 8080)
                    let client = try pod.peer.connect(to: own)
                    let accepted = try sidecar.accept()
                    #expect(try accepted.peerEndpoint() == client.localEndpoint())
                    #expect(try accepted.localEndpoint() == own)

                    let onward = try pod.namespace.run { () throws(KernelError) in
                        let socket = try withFilesystemOwner(.sidecar) { () throws(KernelError) in
                            try Socket.open(.tcp, family)
                        }
                        try socket.set(
                            family == .ipv4
                                ? Socket.Option.transparent4 : Socket.Option.transparent6, to: 1)
                        try socket.set(.mark, to: 0x539)
                        try socket.bind(Endpoint(pod.peerAddress(family), 0))
                        try socket.connect(to: own)
                        return socket
                    }
                    let served = try application.accept()
                    #expect(try served.peerEndpoint() == onward.localEndpoint())
                    #expect(try served.peerEndpoint().address == pod.peerAddress(family))
                    try served.send("the answer")
                    try served.finishSending()
                    #expect(try onward.receiveAll() == "the answer")
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `what a sidecar sends elsewhere from a client's address is not remembered`() async {
        await #expect(processExitsWith: .success) {
            try await FullPolicyTests.withPod {
                $0.inboundMode = .transparent(mark: 0x539, table: 133)
            } _: { pod, backend in
                let silent = Endpoint(IPAddress(ipv4: 0xc633_6401), 8080)
                for (destination, remembered) in [
                    (silent, 0), (Endpoint(pod.address(.ipv4), 8080), 1),
                ] {
                    let onward = try pod.namespace.run { () throws(KernelError) in
                        let socket = try withFilesystemOwner(.sidecar) { () throws(KernelError) in
                            try Socket.open(.tcp.nonBlocking, .ipv4)
                        }
                        try socket.set(.transparent4, to: 1)
                        try socket.bind(Endpoint(pod.peerAddress(.ipv4), 0))
                        return socket
                    }
                    // Without the mark the answers leave, so no connection comes about.
                    let waiting = KernelError("connect(\(destination))", .nowInProgress)
                    let listener = try pod.namespace.listen(.ipv4, 8080)
                    try listener.set(Socket.Option(level: 6, name: 9), to: 10)
                    #expect(throws: waiting) { try onward.connect(to: destination) }
                    let entries = try await backend.occupancy()
                    let handshakes = entries.first { $0.key.hasPrefix("swerve_handsh") }?.value
                    #expect(handshakes == remembered)
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `the routing comes and goes with the plan`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let backend = try await EBPFBackend.load(attachingTo: cgroup)
                let pod = try TestPod.create()
                var plan = pod.plan
                for table in [133, 134] as [UInt32] {
                    plan.inboundMode = .transparent(mark: 7, table: table)
                    try await backend.apply(plan, to: pod.workload)
                    #expect(
                        try TransparentRouting.installed(in: pod.namespace, for: .programs)
                            == TransparentRouting(mark: 7, table: table))
                }
                try await backend.apply(pod.plan, to: pod.workload)
                #expect(try TransparentRouting.installed(in: pod.namespace, for: .programs) == nil)
                try await backend.apply(plan, to: pod.workload)
                try await backend.remove(from: pod.workload)
                #expect(try TransparentRouting.installed(in: pod.namespace, for: .programs) == nil)
            }
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `inbound by tc, and virtual interfaces, are refused by name`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let backend = try await EBPFBackend.load(
                    attachingTo: cgroup, inbound: .trafficControl)
                let pod = try TestPod.create()
                var plan = pod.plan
                plan.inboundMode = .transparent(mark: 7, table: 133)
                let transparent = RedirectionError.inexpressible(
                    part: "transparent inbound by tc", mechanism: .ebpf)
                await #expect(throws: transparent) {
                    try await backend.apply(plan, to: pod.workload)
                }
                plan = pod.plan
                plan.virtualInterfaces = [VirtualInterface("docker0")]
                let virtual = RedirectionError.inexpressible(
                    part: "a virtual interface", mechanism: .ebpf)
                await #expect(throws: virtual) { try await backend.apply(plan, to: pod.workload) }
            }
        }
    }
}
