// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import TestedMechanisms
import Testing

/// What the original of this design got wrong, a test a defect, on every mechanism.
@Suite(.requiresKernel) struct DatapathTests {
    /// The sidecar's call to its own pod bypassed inbound policy, and the application's call to
    /// its own pod took a detour; the packet filters did the opposite.
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `calls to the own address go where the model says`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                for family in AddressFamily.allCases {
                    let application = try pod.namespace.listen(family, 8080)
                    let sidecar = try pod.namespace.listen(family, 15003, as: .sidecar)
                    let own = Endpoint(pod.address(family), 8080)

                    let direct = try pod.namespace.connect(to: own, as: .application)
                    #expect(try application.accept().peerEndpoint() == direct.localEndpoint())

                    let selfCall = try pod.namespace.connect(to: own, as: .sidecar)
                    let accepted = try sidecar.accept()
                    #expect(try accepted.peerEndpoint() == selfCall.localEndpoint())
                    #expect(try accepted.originalDestination(family) == own)
                    #expect(try selfCall.peerEndpoint() == subject.peer(of: own, at: 15003))
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `the sidecar and loopback are left alone`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                for family in AddressFamily.allCases {
                    let server = try pod.peer.listen(family, 8080)
                    let outward = try pod.namespace.connect(
                        to: Endpoint(pod.peerAddress(family), 8080), as: .sidecar)
                    #expect(try server.accept().peerEndpoint() == outward.localEndpoint())

                    let local = try pod.namespace.listen(family, 9090)
                    for owner in [Owner.application, .sidecar] {
                        let inward = try pod.namespace.connect(
                            to: Endpoint(.loopback(family), 9090), as: owner)
                        #expect(try local.accept().peerEndpoint() == inward.localEndpoint())
                    }
                }
            }
        }
    }

    /// To the kernel, where it answers for a socket that is gone, `::1` is an address of one link.
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `the sidecar is told that its client is gone`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                for family in AddressFamily.allCases {
                    let sidecar = try pod.namespace.listen(family, 15001, as: .sidecar)
                    let destination = Endpoint(pod.peerAddress(family), 8080)
                    func acceptAndLeave() throws -> Socket {
                        let client = try pod.namespace.connect(to: destination)
                        let accepted = try sidecar.accept()
                        try client.finishSending()
                        return accepted
                    }
                    do { #expect(try acceptAndLeave().receiveAll() == "") }
                    // Its last FIN is acknowledged: nothing of it stays.
                    try await waitUntil {
                        try !ConnectedSocket.all(in: pod.namespace).contains {
                            $0.local.port == 15001
                        }
                    }
                    let accepted = try acceptAndLeave()
                    #expect(try accepted.receiveAll() == "")
                    try await waitUntil {
                        do throws(KernelError) {
                            try accepted.send("to nobody")
                            return false
                        } catch {
                            return error.errno == .brokenPipe || error.errno == .connectionReset
                        }
                    }
                }
            }
        }
    }

    /// connect(2) turns 0.0.0.0 into loopback, but only after it has asked the programs.
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `the unspecified address is loopback`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                for (family, text) in [(AddressFamily.ipv4, "0.0.0.0"), (.ipv6, "::")] {
                    let local = try pod.namespace.listen(family, 9090)
                    let address = try #require(IPAddress(text))
                    let client = try pod.namespace.connect(to: Endpoint(address, 9090))
                    #expect(try local.accept().peerEndpoint() == client.localEndpoint())
                }
            }
        }
    }

    /// "Not in the mesh" was remembered per cgroup and never forgotten.
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `a pod is redirected from the moment it is, and no longer than it is`(
        _ subject: Subject
    ) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withTestCgroup { cgroup in
                let backend = try await subject.make(attachingTo: cgroup)
                let pod = try TestPod.create()
                let server = try pod.peer.listen(.ipv4, 8080)
                let sidecar = try pod.namespace.listen(.ipv4, 15001, as: .sidecar)
                let destination = Endpoint(pod.peerAddress(.ipv4), 8080)
                for _ in 0..<3 {
                    let before = try pod.namespace.connect(to: destination)
                    #expect(try server.accept().peerEndpoint() == before.localEndpoint())
                    try await backend.apply(pod.plan, to: pod.workload)
                    let during = try pod.namespace.connect(to: destination)
                    #expect(try sidecar.accept().peerEndpoint() == during.localEndpoint())
                    try await backend.remove(from: pod.workload)
                }
            }
        }
    }

    /// A list ended at its first 0.0.0.0/0, and at its 20th item.
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `lists have no end that nobody wrote`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, backend in
                let server = try pod.peer.listen(.ipv4, 8080)
                let sidecar = try pod.namespace.listen(.ipv4, 15001, as: .sidecar)
                let destination = Endpoint(pod.peerAddress(.ipv4), 8080)
                func isRedirected() throws -> Bool {
                    let client = try pod.namespace.connect(to: destination)
                    let name = try client.localEndpoint()
                    if try sidecar.descriptor.waitForInput(.milliseconds(50)) {
                        #expect(try sidecar.accept().peerEndpoint() == name)
                        return true
                    }
                    #expect(try server.accept().peerEndpoint() == name)
                    return false
                }
                var plan = pod.plan
                #expect(try isRedirected())
                plan.outbound.excludedNetworks = [.all(.ipv4)]
                try await backend.apply(plan, to: pod.workload)
                #expect(try !isRedirected())
                // The one that matters comes last, whatever order a list is kept in.
                plan.outbound.excludedNetworks = Set(
                    (0..<300).map { CIDR(IPAddress(ipv4: 0xc633_6400 + $0 << 16)) })
                try await backend.apply(plan, to: pod.workload)
                #expect(try isRedirected())
                plan.outbound.excludedNetworks.insert(CIDR(pod.peerAddress(.ipv4)))
                try await backend.apply(plan, to: pod.workload)
                #expect(try !isRedirected())
                plan.outbound.excludedNetworks = []
                plan.outbound.excludedPorts = PortSet(values: (0..<300).map { 8080 + 7 * $0 })
                try await backend.apply(plan, to: pod.workload)
                #expect(try !isRedirected())
                plan.outbound = Selection(includedPorts: [80], includedNetworks: [.all(.ipv4)])
                try await backend.apply(plan, to: pod.workload)
                #expect(try !isRedirected())
                plan.outbound.combination = .any
                try await backend.apply(plan, to: pod.workload)
                #expect(try isRedirected())
            }
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `IPv4 in an IPv6 socket is IPv4`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                let sidecar = try pod.namespace.listen(.ipv4, 15001, as: .sidecar)
                let origin = Endpoint(pod.peerAddress(.ipv4), 8080)
                let client = try pod.namespace.run { () throws(KernelError) in
                    try asOwner(.application) { () throws(KernelError) in
                        let socket = try Socket.open(.tcp, .ipv6)
                        try socket.connect(to: origin)
                        return socket
                    }
                }
                let accepted = try sidecar.accept()
                #expect(try accepted.originalDestination(.ipv4) == origin)
                #expect(try client.peerEndpoint() == subject.peer(of: origin, at: 15001))
                #expect(try client.localEndpoint().address == pod.address(.ipv4))
                #expect(try accepted.peerEndpoint() == client.localEndpoint())
            }
        }
    }

    /// `bpf_get_current_uid_gid` is who connects; the packet filters match who created.
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `a socket belongs to who created it`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                let server = try pod.peer.listen(.ipv4, 8080)
                let sidecar = try pod.namespace.listen(.ipv4, 15001, as: .sidecar)
                let destination = Endpoint(pod.peerAddress(.ipv4), 8080)
                func connect(created creator: Owner, connected connector: Owner) throws -> Socket {
                    try pod.namespace.run { () throws(KernelError) in
                        let socket = try asOwner(creator) { () throws(KernelError) in
                            try Socket.open(.tcp, .ipv4)
                        }
                        try asOwner(connector) { () throws(KernelError) in
                            try socket.connect(to: destination)
                        }
                        return socket
                    }
                }
                // An old kernel keeps nothing of a socket that is being made: there it is the other
                // way round, and said so.
                let (first, second): (Owner, Owner) =
                    subject.isOld ? (.application, .sidecar) : (.sidecar, .application)
                let passed = try connect(created: first, connected: second)
                #expect(try server.accept().peerEndpoint() == passed.localEndpoint())
                let redirected = try connect(created: second, connected: first)
                #expect(try sidecar.accept().peerEndpoint() == redirected.localEndpoint())
            }
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `a refused connection can be tried again on the same socket`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                let destination = Endpoint(pod.peerAddress(.ipv4), 8080)
                let socket = try pod.namespace.run { () throws(KernelError) in
                    try Socket.open(.tcp, .ipv4)
                }
                let refusal = KernelError("connect(\(destination))", .connectionRefused)
                #expect(throws: refusal) { try socket.connect(to: destination) }
                let sidecar = try pod.namespace.listen(.ipv4, 15001, as: .sidecar)
                try socket.connect(to: destination)
                let accepted = try sidecar.accept()
                #expect(try accepted.originalDestination(.ipv4) == destination)
                #expect(try accepted.peerEndpoint() == socket.localEndpoint())
            }
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `a socket that was refused can go elsewhere, and then past the sidecar`(
        _ subject: Subject
    ) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                for family in AddressFamily.allCases {
                    let destinations = [8080, 8081].map { Endpoint(pod.peerAddress(family), $0) }
                    func refused() throws -> Socket {
                        let socket = try pod.namespace.run { () throws(KernelError) in
                            try Socket.open(.tcp, family)
                        }
                        for destination in destinations {
                            let refusal = KernelError(
                                "connect(\(destination))", .connectionRefused)
                            #expect(throws: refusal) { try socket.connect(to: destination) }
                        }
                        return socket
                    }
                    let local = try pod.namespace.listen(family, 9090)
                    let passed = try refused()
                    try passed.connect(to: Endpoint(.loopback(family), 9090))
                    let client = try local.accept().peerEndpoint()
                    #expect(try client == passed.localEndpoint())
                    #expect(client.address == .loopback(family))

                    let redirected = try refused()
                    let sidecar = try pod.namespace.listen(family, 15001, as: .sidecar)
                    let third = Endpoint(pod.peerAddress(family), 8082)
                    try redirected.connect(to: third)
                    let accepted = try sidecar.accept()
                    #expect(try accepted.originalDestination(family) == third)
                    #expect(try accepted.peerEndpoint() == redirected.localEndpoint())
                    #expect(try redirected.peerEndpoint() == subject.peer(of: third, at: 15001))
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `inbound is refused while no sidecar listens, and never reaches the application`(
        _ subject: Subject
    ) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                let application = try pod.namespace.listen(.ipv4, 8080)
                let destination = Endpoint(pod.address(.ipv4), 8080)
                let refusal = KernelError("connect(\(destination))", .connectionRefused)
                #expect(throws: refusal) { _ = try pod.peer.connect(to: destination) }
                #expect(try !application.descriptor.waitForInput(.zero))
                // The sidecar's own ports are reached directly.
                let metrics = try pod.namespace.listen(.ipv4, 15010, as: .sidecar)
                let probe = try pod.peer.connect(to: Endpoint(pod.address(.ipv4), 15010))
                #expect(try metrics.accept().peerEndpoint() == probe.localEndpoint())
            }
        }
    }
}
