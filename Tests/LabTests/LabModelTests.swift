// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import LinuxKernel
import PolicyFile
import RedirectionEngine
import RedirectionModel
import SidecarProxy
import SystemPackage
import Testing

@testable import Lab

private func endpoint(_ text: String) throws -> Endpoint { try #require(Endpoint(text)) }

private func record(
    _ role: ConnectionRecord.Role, _ pod: String, peer: String, origin: String? = nil,
    to: String? = nil, from: String? = nil
) throws -> ConnectionRecord {
    var record = ConnectionRecord(role, pod: pod, peer: try endpoint(peer))
    record.origin = try origin.map(endpoint)
    record.connectedTo = try to.map(endpoint)
    record.connectedFrom = try from.map(endpoint)
    return record
}

@Suite struct ConnectionPathTests {
    private let client = "10.244.1.2:4000"
    private let service = "10.244.1.3:8080"

    private func outbound() throws -> ConnectionRecord {
        try record(
            .outbound, "curl", peer: client, origin: service, to: service, from: "10.244.1.2:4001")
    }

    private func inbound() throws -> ConnectionRecord {
        try record(
            .inbound, "ok-v1", peer: "10.244.1.2:4001", origin: service, to: "127.0.0.1:8080",
            from: "127.0.0.1:5000")
    }

    private func app(_ pod: String = "ok-v1") throws -> ConnectionRecord {
        try record(.app, pod, peer: "127.0.0.1:5000")
    }

    @Test func `a path is found whatever the order of the records`() throws {
        let path = ConnectionPath.trace(
            from: try endpoint(client), in: [try app(), try inbound(), try outbound()])
        #expect(path.hops == [try outbound(), try inbound(), try app()])
        #expect(path.reachedApplication)
    }

    @Test func `a hop whose source nobody saw ends the path`() throws {
        var stranger = try inbound()
        stranger.peer = try endpoint("10.244.1.2:9999")
        let path = ConnectionPath.trace(
            from: try endpoint(client), in: [try outbound(), stranger, try app()])
        #expect(path.hops == [try outbound()])
        #expect(!path.reachedApplication)
    }

    @Test func `the same loopback port in another pod is another connection`() throws {
        let path = ConnectionPath.trace(
            from: try endpoint(client), in: [try app("ok-v2"), try outbound(), try inbound()])
        #expect(path.hops == [try outbound(), try inbound()])
    }

    @Test func `a connection nobody redirected goes straight to the application`() throws {
        let direct = try record(.app, "ok-v1", peer: client)
        let path = ConnectionPath.trace(from: try endpoint(client), in: [direct])
        #expect(path.hops == [direct])
    }
}

@Suite struct ExpectationTests {
    private func lab(_ mechanism: Bool) -> LabState {
        let pods = LabTopology.scene.nodes.flatMap { node in
            node.pods.map { pod in
                LabState.Pod(
                    name: pod.name, node: node.name, addresses: pod.addresses,
                    greeting: pod.greeting, cgroup: "", namespace: "")
            }
        }
        return LabState(
            name: "", owner: ProcessIdentity(pid: 1, startTime: 1),
            mechanism: mechanism ? .ebpf : nil, reason: "", inbound: .socketLookup,
            policy: PolicyFile.render(Policy()), cgroup: "",
            hosts: "",
            records: "", pods: pods)
    }

    private func problems(
        redirected: Bool, _ hops: [ConnectionRecord], answer: String = "Hi, I am ok v1 !"
    ) throws -> [String] {
        let lab = lab(redirected)
        let exchange = Exchange(
            family: .ipv4, target: "ok-v1", destination: try endpoint("10.244.1.3:8080"),
            answer: answer, peerSeenByClient: nil,
            path: ConnectionPath(client: try endpoint("10.244.1.2:4000"), hops: hops))
        return Expectation(client: try lab.pod("curl"), target: try lab.pod("ok-v1"), lab: lab)
            .problems(of: exchange)
    }

    private func hops(origin: String = "10.244.1.3:8080") throws -> [ConnectionRecord] {
        [
            try record(.outbound, "curl", peer: "10.244.1.2:4000", origin: "10.244.1.3:8080"),
            try record(.inbound, "ok-v1", peer: "10.244.1.2:4001", origin: origin),
            try record(.app, "ok-v1", peer: "127.0.0.1:1"),
        ]
    }

    @Test func `both sidecars and the right origin are no problem`() throws {
        #expect(try problems(redirected: true, hops()).isEmpty)
    }

    @Test func `a connection past the sidecars is a problem where they should be crossed`() throws {
        let direct = [try record(.app, "ok-v1", peer: "10.244.1.2:4000")]
        #expect(try problems(redirected: true, direct).count == 1)
        #expect(try problems(redirected: false, direct).isEmpty)
    }

    @Test func `a sidecar crossed in the control run is a problem`() throws {
        #expect(try problems(redirected: false, hops()).count == 1)
    }

    @Test func `a wrong origin and a wrong answer are problems`() throws {
        #expect(try problems(redirected: true, hops(origin: "10.244.1.3:1")).count == 1)
        #expect(try problems(redirected: true, hops(), answer: "Hi, I am ok v2 !").count == 1)
    }
}

@Suite struct LabModelTests {
    @Test func `a lab's name says whose it is`() throws {
        let identity = try LabIdentity.next(.up)
        #expect(LabIdentity(identity.description) == identity)
        #expect(!identity.isOrphan)
        #expect(try LabIdentity.next(.up) != identity)
    }

    @Test func `a lab of a process that is gone is an orphan`() throws {
        let own = try LabIdentity.next(.run)
        // The same number, another start: a later process.
        let text = own.description.replacing("-\(own.owner.startTime)-", with: "-1-")
        #expect(try #require(LabIdentity(text)).isOrphan)
    }

    @Test func `a lab of another pid namespace is never an orphan here`() throws {
        let own = try LabIdentity.next(.run)
        let text = own.description
            .replacing("-\(own.pidNamespace)-", with: "-1-")
            .replacing("-\(own.owner.startTime)-", with: "-1-")
        #expect(try !#require(LabIdentity(text)).isOrphan)
    }

    @Test(arguments: ["", "up-1-2-3", "down-1-2-3-4", "up-1-x-3-4", "up-1-2-3-4-5"])
    func `other names are not labs`(_ text: String) { #expect(LabIdentity(text) == nil) }

    @Test func `hosts name every pod in both families, and ok is every application`() {
        let lines = LabTopology.scene.hosts.split(separator: "\n")
        #expect(lines.contains("10.244.1.2 curl"))
        #expect(lines.contains("10.244.1.3 ok-v1 ok"))
        #expect(lines.contains("fd00:244:2::2 ok-v2 ok"))
    }

    @Test func `only a listening socket on the port counts as listening`() {
        let table = """
              sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode
               0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 77
               1: 0100007F:1F91 00000000:0000 01 00000000:00000000 00:00000000 00000000 0 0 78
            """
        #expect(ListenerTable.inodes(listeningOn: 8080, in: table) == [77])
        #expect(ListenerTable.inodes(listeningOn: 8081, in: table) == [])
        #expect(ListenerTable.inodes(listeningOn: 80, in: table) == [])
    }

    @Test func `the client's report is the last line, whatever the answer is`() {
        let report = ClientReport("one\ntwo\n\n10.244.1.2 4000 10.244.1.3 8080")
        #expect(report?.body == "one\ntwo")
        #expect(report?.local == Endpoint("10.244.1.2:4000"))
        #expect(report?.remote == Endpoint("10.244.1.3:8080"))
        #expect(ClientReport("\n 0  0") == nil)
    }

    @Test func `a sidecar command has its placeholders filled in`() {
        var configuration = LabConfiguration(nil, executable: "/swerve")
        configuration.sidecarCommand = "proxy -o {outbound} -i {inbound} -n {pod} -a {app}"
        #expect(
            configuration.sidecarArguments(in: "curl", as: Preset.fsm.sidecar) == [
                "/bin/sh", "-c", "proxy -o 15001 -i 15003 -n curl -a 8080",
            ])
    }
}
