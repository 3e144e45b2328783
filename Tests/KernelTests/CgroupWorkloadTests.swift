// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import TestedMechanisms
import Testing

/// A workload that is a cgroup, in a namespace it shares.
@Suite(.requiresKernel) struct CgroupWorkloadTests {
    /// Two cgroups in one namespace, the first of them a workload.
    private struct Scene {
        let pod: TestPod
        let workload: Workload
        let inside: NetworkNamespace
        let outside: NetworkNamespace

        init() throws {
            pod = try TestPod.create()
            let namespace = pod.workload.namespace
            let cgroup = try #require(try makeTestCgroup("workload"))
            workload = Workload(id: "command", cgroup: cgroup, in: namespace)
            inside = try namespace.within(cgroup)
            outside = try namespace.within(try #require(try makeTestCgroup("others")))
        }

        /// Outbound and lookups; nothing that arrives.
        var plan: RedirectionPlan {
            var plan = pod.plan
            plan.inbound.includedPorts = []
            plan.dns = DNSCapture(port: 15053, protocols: [.udp])
            return plan
        }

        /// Opens a UDP socket on `address`, as `owner`, in the namespace.
        func openDatagrams(
            _ namespace: NetworkNamespace, on address: Endpoint, as owner: Owner
        ) throws(KernelError) -> Socket {
            try namespace.run { () throws(KernelError) in
                try asOwner(owner) { () throws(KernelError) in
                    let socket = try Socket.open(.udp, address.address.family)
                    try socket.bind(address)
                    return socket
                }
            }
        }

        /// Asks a name server from the namespace, and returns whom the answer is from.
        func ask(
            _ server: Endpoint, from namespace: NetworkNamespace,
            answeredBy socket: borrowing Socket
        ) throws -> Endpoint {
            let client = try namespace.run { () throws(KernelError) in
                try asOwner(.application) { () throws(KernelError) in
                    let client = try Socket.open(.udp, server.address.family)
                    try client.send([7], to: server)
                    return client
                }
            }
            let question = try socket.receiveDatagram()
            try socket.send([8], to: question.peer, from: question.local)
            return try client.receiveDatagram().peer
        }
    }

    @Test(.timeLimit(.minutes(1)), arguments: Subject.allCases.filter(\.isEBPF))
    func `one cgroup is redirected, and the other in its namespace is not`(
        _ subject: Subject
    ) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withTestCgroup { cgroup in
                let scene = try Scene()
                let backend = try await subject.make(attachingTo: cgroup)
                try await backend.apply(scene.plan, to: scene.workload)
                #expect(
                    try await backend.installed(in: scene.workload) == scene.plan.fingerprint)
                for family in AddressFamily.allCases { try Self.check(scene, family, subject) }
                try await backend.remove(from: scene.workload)
                let server = try scene.pod.peer.listen(.ipv4, 8080)
                let client = try scene.inside.connect(
                    to: Endpoint(scene.pod.peerAddress(.ipv4), 8080))
                #expect(try server.accept().peerEndpoint() == client.localEndpoint())
            }
        }
    }

    private static func check(
        _ scene: Scene, _ family: AddressFamily, _ subject: Subject
    ) throws {
        let origin = Endpoint(scene.pod.peerAddress(family), 8080)
        let sidecar = try scene.inside.listen(family, 15001, as: .sidecar)
        let server = try scene.pod.peer.listen(family, 8080)
        let client = try scene.inside.connect(to: origin)
        let accepted = try sidecar.accept()
        #expect(try accepted.originalDestination(family) == origin)
        #expect(try accepted.peerEndpoint() == client.localEndpoint())
        #expect(try client.peerEndpoint() == subject.peer(of: origin, at: 15001))
        for other in [scene.outside, scene.pod.workload.namespace] {
            let direct = try other.connect(to: origin)
            #expect(try server.accept().peerEndpoint() == direct.localEndpoint())
        }
        // The sidecar's own connections, and what arrives at the workload.
        let onward = try scene.inside.connect(to: origin, as: .sidecar)
        #expect(try server.accept().peerEndpoint() == onward.localEndpoint())
        let application = try scene.inside.listen(family, 9090)
        let inward = try scene.pod.peer.connect(to: Endpoint(scene.pod.address(family), 9090))
        #expect(try application.accept().peerEndpoint() == inward.localEndpoint())

        let resolver = Endpoint(scene.pod.peerAddress(family), 53)
        let captured = try scene.openDatagrams(
            scene.inside, on: Endpoint(.loopback(family), 15053), as: .sidecar)
        let asked = try scene.openDatagrams(scene.pod.peer, on: resolver, as: .root)
        #expect(try scene.ask(resolver, from: scene.inside, answeredBy: captured) == resolver)
        #expect(try scene.ask(resolver, from: scene.outside, answeredBy: asked) == resolver)
    }

    /// Its namespace may be the machine's: nothing is put there.
    @Test(.timeLimit(.minutes(1)), arguments: Subject.allCases.filter(\.isEBPF))
    func `a cgroup in the machine's namespace can be a workload`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withTestCgroup { cgroup in
                let scene = try Scene()
                let backend = try await subject.make(attachingTo: cgroup)
                let child = try #require(try makeTestCgroup("service"))
                let workload = Workload(
                    id: "service", cgroup: child, in: try NetworkNamespace.current())
                let rules = try StockTool.Snapshot(of: workload.namespace)
                try await backend.apply(scene.plan, to: workload)
                #expect(try await backend.installed(in: workload) == scene.plan.fingerprint)
                #expect(try StockTool.Snapshot(of: workload.namespace) == rules)
                try await backend.remove(from: workload)
                #expect(try await backend.installed(in: workload) == nil)
            }
        }
    }

    @Test(.timeLimit(.minutes(1)), arguments: Subject.allCases)
    func `what a cgroup cannot have is refused by name`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withTestCgroup { cgroup in
                let scene = try Scene()
                let backend = try await subject.make(attachingTo: cgroup)
                var dropping = scene.plan
                dropping.families[.ipv6] = .drop
                let cases = [
                    ("inbound redirection of a workload that is a cgroup", scene.pod.plan),
                    ("dropping a family of a workload that is a cgroup", dropping),
                ]
                for (part, plan) in cases {
                    let refusal = RedirectionError.inexpressible(
                        part: subject.isEBPF ? part : "a workload that is a cgroup",
                        mechanism: backend.mechanism)
                    await #expect(throws: refusal) {
                        try await backend.apply(plan, to: scene.workload)
                    }
                }
                // Nothing is there, and removing it harms nobody.
                try await backend.remove(from: scene.workload)
                #expect(try await backend.installed(in: scene.workload) == nil)
            }
        }
    }

    /// Programs there would meet our own connections, or everybody's.
    @Test(.timeLimit(.minutes(1)), arguments: Subject.allCases.filter(\.isEBPF))
    func `the root cgroup, and any that we live in, are refused`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withTestCgroup { cgroup in
                let scene = try Scene()
                let backend = try await subject.make(attachingTo: cgroup)
                // Off, so that a backend that forgets to refuse does no harm to this machine.
                var plan = scene.plan
                plan.isEnabled = false
                let refusal = RedirectionError.ownCgroup(workload: "us")
                let root = try Cgroup.root()
                for ours in [cgroup, root, Cgroup(path: root.path + "/"), try Cgroup.current()] {
                    let workload = Workload(
                        id: "us", cgroup: ours, in: scene.pod.workload.namespace)
                    await #expect(throws: refusal) { try await backend.apply(plan, to: workload) }
                    await #expect(throws: refusal) { try await backend.remove(from: workload) }
                }
            }
        }
    }

    /// A kernel that cannot tell namespaces has nothing else to go by.
    @Test(.timeLimit(.minutes(1)))
    func `a pod whose cgroup is not known is refused where it is needed`() async {
        await #expect(processExitsWith: .success) {
            try await withTestCgroup { cgroup in
                let pod = try TestPod.create()
                let backend = try await Subject.attachment.make(attachingTo: cgroup)
                let unknown = Workload(id: "pod", namespace: pod.workload.namespace)
                await #expect(throws: RedirectionError.self) {
                    try await backend.apply(pod.plan, to: unknown)
                }
                let shared = Workload(
                    id: "pod", namespace: pod.workload.namespace, cgroup: cgroup)
                await #expect(throws: RedirectionError.ownCgroup(workload: "pod")) {
                    try await backend.apply(pod.plan, to: shared)
                }
                #expect(try await backend.installed(in: pod.workload) == nil)
            }
        }
    }
}
