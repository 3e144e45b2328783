// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import TestedMechanisms
import Testing

/// What programs do with their sockets, beyond socket(2) and connect(2): the same for every mechanism.
@Suite(.requiresKernel) struct ObservationTests {
    /// A redirected pod with its sidecar, and where its application wants to go.
    struct Scene: ~Copyable {
        let pod: TestPod
        let sidecar: Socket
        let destination: Endpoint
        let subject: Subject

        init(
            _ subject: Subject, _ pod: TestPod, _ family: AddressFamily = .ipv4
        ) throws(KernelError) {
            self.subject = subject
            self.pod = pod
            sidecar = try pod.namespace.listen(family, 15001, as: .sidecar)
            destination = Endpoint(pod.peerAddress(family), 8080)
        }

        /// A socket of the application, not connected yet.
        func open(_ kind: Socket.Kind = .tcp) throws(KernelError) -> Socket {
            try pod.namespace.run { () throws(KernelError) in
                try asOwner(.application) { () throws(KernelError) in
                    try Socket.open(kind, destination.address.family)
                }
            }
        }

        /// Expects that the sidecar has the connection, and that nobody can tell.
        func expectRedirected(_ client: borrowing Socket) throws {
            let accepted = try sidecar.accept()
            let family = destination.address.family
            #expect(try accepted.originalDestination(family) == destination)
            #expect(try accepted.peerEndpoint() == client.localEndpoint())
            #expect(try client.peerEndpoint() == subject.peer(of: destination, at: 15001))
            #expect(try client.localEndpoint().address == pod.address(family))
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `a connection that does not wait is redirected`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                for family in AddressFamily.allCases {
                    let scene = try Scene(subject, pod, family)
                    let client = try scene.open(.tcp.nonBlocking)
                    let progress = KernelError("connect(\(scene.destination))", .nowInProgress)
                    #expect(throws: progress) { try client.connect(to: scene.destination) }
                    #expect(try client.waitUntilWritable(.seconds(10)))
                    #expect(try client.pendingError() == 0)
                    try scene.expectRedirected(client)
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `fast open is redirected, by option and by flag`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                let scene = try Scene(subject, pod)
                let byOption = try scene.open()
                // TCP_FASTOPEN_CONNECT
                try byOption.set(Socket.Option(level: 6, name: 30), to: 1)
                try byOption.connect(to: scene.destination)
                try byOption.send("first")
                try scene.expectRedirected(byOption)
                let byFlag = try scene.open()
                try byFlag.sendFastOpen("first", toIPv4: scene.destination)
                try scene.expectRedirected(byFlag)
            }
        }
    }

    /// How an application may bind before it connects.
    enum Binding: CaseIterable {
        case address, addressAndPort, addressWithoutPort, addressSharedByPort
    }

    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `a source that was bound stays`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                for family in AddressFamily.allCases {
                    let scene = try Scene(subject, pod, family)
                    for binding in Binding.allCases {
                        let client = try scene.open()
                        switch binding {
                        case .addressAndPort: try client.set(.reuseAddress, to: 1)
                        case .addressSharedByPort: try client.set(.reusePort, to: 1)
                        // IP_BIND_ADDRESS_NO_PORT, for both families
                        case .addressWithoutPort:
                            try client.set(Socket.Option(level: 0, name: 24), to: 1)
                        case .address: break
                        }
                        let hasPort = binding == .addressAndPort || binding == .addressSharedByPort
                        let port: UInt16 = hasPort ? 33_333 : 0
                        try client.bind(Endpoint(pod.address(family), port))
                        try client.connect(to: scene.destination)
                        if hasPort { #expect(try client.localEndpoint().port == port) }
                        try client.resetOnClose()
                        try scene.expectRedirected(client)
                    }
                }
            }
        }
    }

    /// The source that the programs give a redirected socket once stayed with it for good.
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `a connection that is taken back can go elsewhere, from where it should`(
        _ subject: Subject
    ) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                for family in AddressFamily.allCases {
                    let scene = try Scene(subject, pod, family)
                    let local = try pod.namespace.listen(family, 9090)
                    let client = try scene.open()
                    try client.connect(to: scene.destination)
                    try scene.expectRedirected(client)
                    try client.disconnect()

                    try client.connect(to: Endpoint(.loopback(family), 9090))
                    #expect(try local.accept().peerEndpoint() == client.localEndpoint())
                    #expect(try client.localEndpoint().address == .loopback(family))
                    #expect(try client.peerEndpoint() == Endpoint(.loopback(family), 9090))
                    try client.disconnect()

                    try client.connect(to: scene.destination)
                    try scene.expectRedirected(client)
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `datagrams that are no name lookups are left alone`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                for family in AddressFamily.allCases {
                    let scene = try Scene(subject, pod, family)
                    let server = try pod.peer.run { () throws(KernelError) in
                        let socket = try Socket.open(.udp, family)
                        try socket.bind(Endpoint(pod.peerAddress(family), 53))
                        return socket
                    }
                    let client = try scene.open(.udp)
                    let origin = Endpoint(pod.peerAddress(family), 53)
                    try client.send([1], to: origin)
                    #expect(try server.receiveDatagram().peer.address == pod.address(family))
                    try client.connect(to: origin)
                    #expect(try client.peerEndpoint() == origin)
                    try client.send("2")
                    #expect(try server.receiveDatagram().peer == client.localEndpoint())
                }
            }
        }
    }

    /// netfilter asks for the filesystem ids, which follow the effective ones; the real ones say
    /// who started a set-user-ID program.
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `the owner is the effective user, not the real one`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                let server = try pod.peer.listen(.ipv4, 8080)
                let destination = Endpoint(pod.peerAddress(.ipv4), 8080)
                let client = try pod.namespace.run { () throws(KernelError) in
                    try withFilesystemOwner(.sidecar) { () throws(KernelError) in
                        try Socket.open(.tcp, .ipv4)
                    }
                }
                // Whose user is root, or who connects as root, has no sidecar to go to here.
                guard subject.hasExactOwners else {
                    let refusal = KernelError("connect(\(destination))", .connectionRefused)
                    #expect(throws: refusal) { try client.connect(to: destination) }
                    return
                }
                try client.connect(to: destination)
                #expect(try server.accept().peerEndpoint() == client.localEndpoint())
            }
        }
    }

    /// Whoever connected counted, for nobody had seen the socket being made.
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `a socket that is older than the redirection keeps its owner`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withTestCgroup { cgroup in
                let pod = try TestPod.create()
                let old = try pod.namespace.run { () throws(KernelError) in
                    try asOwner(.sidecar) { () throws(KernelError) in
                        try Socket.open(.tcp, .ipv4)
                    }
                }
                let server = try pod.peer.listen(.ipv4, 8080)
                let backend = try await subject.make(attachingTo: cgroup)
                try await backend.apply(pod.plan, to: pod.workload)
                // Where only who connects is known, that is somebody else here.
                try asOwner(subject.hasExactOwners ? .application : .sidecar) {
                    () throws(KernelError) in
                    try old.connect(to: Endpoint(pod.peerAddress(.ipv4), 8080))
                }
                #expect(try server.accept().peerEndpoint() == old.localEndpoint())
                try await backend.remove(from: pod.workload)
            }
        }
    }

    /// A multipath socket connects its subflows where no hook of the programs sees them.
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `a multipath socket does not slip past the sidecar`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                let scene = try Scene(subject, pod)
                let server = try pod.peer.listen(.ipv4, 8080)
                switch subject {
                case .socketLookup, .trafficControl, .attachment:
                    // Old kernels let a program refuse, but not say why.
                    let refusal = KernelError(
                        "socket(ipv4)", subject.isOld ? .notPermitted : .protocolNotSupported)
                    #expect(throws: refusal) { _ = try scene.open(.mptcp) }
                case .nft, .legacy:
                    let client = try scene.open(.mptcp)
                    try client.connect(to: scene.destination)
                    try scene.expectRedirected(client)
                }
                #expect(try !server.descriptor.waitForInput(.zero))
            }
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `an inbound multipath connection lands on the sidecar`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                for family in AddressFamily.allCases {
                    let sidecar = try pod.namespace.listen(family, 15003, as: .sidecar)
                    let origin = Endpoint(pod.address(family), 8080)
                    let client = try pod.peer.connect(to: origin, kind: .mptcp)
                    let accepted = try sidecar.accept()
                    #expect(try accepted.originalDestination(family) == origin)
                    try client.send("over the sidecar")
                    try client.finishSending()
                    #expect(try accepted.receiveAll() == "over the sidecar")
                }
            }
        }
    }
}
