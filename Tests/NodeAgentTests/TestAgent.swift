// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import Foundation
import KernelTestSupport
import LinuxKernel
import Logging
import NodeAgent
import OrderedJSON
import RedirectionEngine
import RedirectionModel
import SystemPackage
import Testing

/// An agent in this process whose mechanisms are in memory, and namespaces for it.
struct TestAgent: Sendable {
    let state: String
    let kernel: InMemoryKernel
    var socket: String { state + "/agent.sock" }

    func ask(_ method: String, _ target: String, _ body: String = "") async throws -> HTTPReply {
        try await ask(TestRequest(method, target, body))
    }

    func ask(_ request: TestRequest) async throws -> HTTPReply {
        try await onThread { [socket] in try request.ask(socket) }
    }

    /// An agent that is still to be run.
    static func make(
        policy: Policy? = nil, refusing: Set<Mechanism> = [], state: String? = nil,
        period: Duration = .seconds(3600), grace: Duration = .seconds(10),
        cluster: ClusterAccess? = nil, cgroups: Cgroup? = nil, attachments: Directory? = nil
    ) -> (TestAgent, NodeAgent) {
        let state = state ?? "/tmp/swerve-agent-\(UInt32.random(in: 0 ... .max))"
        let agent = TestAgent(state: state, kernel: InMemoryKernel())
        let mechanisms = InMemoryMechanisms(agent.kernel, refusing: refusing)
        let assessments = mechanisms.assessments
        var door = Door(
            socket: agent.socket, policy: NodePolicy(policy), probe: { assessments },
            inspectors: { _ in [] })
        door.grace = grace
        door.cluster = cluster
        door.cgroups = cgroups
        door.attachments = attachments
        let daemon = NodeAgent(
            state: state, mechanisms, drift: .repair, period: period, door: door,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        return (agent, daemon)
    }

    /// Runs `body` while the agent listens.
    @discardableResult
    static func with<Value>(
        policy: Policy? = nil, refusing: Set<Mechanism> = [], state: String? = nil,
        period: Duration = .seconds(3600), cluster: ClusterAccess? = nil, cgroups: Cgroup? = nil,
        attachments: Directory? = nil, _ body: (TestAgent) async throws -> Value
    ) async throws -> Value {
        let (agent, daemon) = make(
            policy: policy, refusing: refusing, state: state, period: period, cluster: cluster,
            cgroups: cgroups, attachments: attachments)
        let run = Task { try await daemon.run() }
        defer { try? FileManager.default.removeItem(atPath: agent.state) }
        try await agent.waitUntilReady(run)
        let result: Result<Value, any Error>
        do { result = .success(try await body(agent)) } catch { result = .failure(error) }
        run.cancel()
        try await run.value
        return try result.get()
    }

    func waitUntilReady(_ run: Task<Void, any Error>) async throws {
        for _ in 0..<3000 {
            if FileManager.default.fileExists(atPath: socket),
                try await ask("POST", AgentCall.status.path).text.contains("looked through")
                    == false
            {
                return
            }
            try await Task.sleep(for: .milliseconds(10))
        }
        run.cancel()
        try await run.value
        throw KernelError("wait for \(socket)", .timedOut)
    }
}

/// A pod as a plugin tells of it, with a namespace of its own.
struct ToldPod: Sendable {
    let namespace: NetworkNamespace
    var request: PodRequest

    init(_ container: String, annotations: [String: String]? = ["swerve.dev/mode": "auto"]) throws {
        namespace = try NetworkNamespace.create()
        request = PodRequest(
            attachment: Attachment(container: container, interface: "eth0"), network: "net")
        let own = try ProcessIdentity.current().pid
        request.namespacePath = "/proc/\(own)/fd/\(namespace.rawDescriptor)"
        request.pod = PodIdentity(namespace: "shop", name: "web-\(container)", uid: "0c21")
        request.annotations = annotations
        request.addresses = ["10.0.0.2/24"]
    }

    var id: String { FailedOpen.name(of: request.attachment) }
    var body: String { request.json.rendered() }

    /// What Flomesh's plugin sends of it.
    var cmdArgs: String {
        let annotations = JSON.object(
            (request.annotations ?? [:]).map { .init($0.key, .string($0.value)) })
        let input = JSON(members: [
            "cniVersion": .string("0.3.1"), "name": .string("net"), "type": .string("fsm-cni"),
            "runtimeConfig": JSON(members: ["io.kubernetes.cri.pod-annotations": annotations]),
            "prevResult": JSON(members: [
                "ips": .array([
                    JSON(members: [
                        "version": .string("4"), "address": .string("10.0.0.2/24"),
                    ])
                ])
            ]),
        ])
        return JSON(members: [
            "ContainerID": .string(request.attachment.container),
            "Netns": request.namespacePath.map(JSON.string), "IfName": .string("eth0"),
            "Args": .string("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;IgnoreUnknown=1"),
            "Path": .string("/opt/cni/bin"),
            "StdinData": .string(Data(input.rendered().utf8).base64EncodedString()),
        ]).rendered()
    }
}
