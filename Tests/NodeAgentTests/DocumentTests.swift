// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import Foundation
import KernelTestSupport
import LinuxKernel
import OrderedJSON
import RedirectionEngine
import SystemPackage
import Testing

@testable import NodeAgent

/// docs/openapi.yaml and the server say the same.
@Suite(.requiresKernel, .timeLimit(.minutes(3))) struct DocumentTests {
    @Test func `the document has every route, and no other`() throws {
        let document = try APIDocument()
        let routes = Set(AgentAPI.operations.map { Operation($0.method, $0.path) })
        #expect(Set(document.operations.keys) == routes)
    }

    @Test func `every status of every operation can be had, and says what the document says`()
        async throws
    {
        let document = try APIDocument()
        let exercise = Exercise(document)
        try await TestAgent.with { try await exercise.run($0) }
        try await TestAgent.with(refusing: Set(Mechanism.allCases)) { agent in
            _ = try await exercise.expect(503, "GET", "/readyz", of: agent)
        }
        var missing: [String] = []
        for (operation, statuses) in document.operations {
            for status in statuses.keys where !exercise.has(operation, status) {
                missing.append("\(operation) \(status)")
            }
        }
        #expect(missing.sorted().isEmpty)
    }
}

/// Asks everything, and notes what came.
private final class Exercise {
    private let document: APIDocument
    private var seen: Set<String> = []

    init(_ document: APIDocument) { self.document = document }

    func has(_ operation: Operation, _ status: Int) -> Bool {
        seen.contains("\(operation) \(status)")
    }

    /// Asks, and compares the answer with the document.
    @discardableResult
    func expect(
        _ status: Int, _ method: String, _ target: String, _ body: String = "",
        of agent: TestAgent, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> HTTPReply {
        let reply = try await agent.ask(method, target, body)
        note(status, method, target, reply, sourceLocation)
        return reply
    }

    private func note(
        _ status: Int, _ method: String, _ target: String, _ reply: HTTPReply,
        _ sourceLocation: SourceLocation
    ) {
        #expect(
            reply.status == status, "\(method) \(target): \(reply.text)",
            sourceLocation: sourceLocation)
        let path = String(target.prefix { $0 != "?" })
        guard let operation = document.operation(method, path) else {
            Issue.record("\(method) \(path) is not in the document", sourceLocation: sourceLocation)
            return
        }
        seen.insert("\(operation) \(reply.status)")
        let problems = document.problems(with: reply, of: operation)
        #expect(problems.isEmpty, "\(operation) \(reply.text)", sourceLocation: sourceLocation)
    }

    func run(_ agent: TestAgent) async throws {
        try await askAboutPods(agent)
        try await askOfWorkloads(agent)
        try await askOfFlomesh(agent)
        try await askOfTheUnreadable(agent)
        try await askOfTheNode(agent)
    }

    private let trouble = RedirectionError.kernel(
        KernelError("write", .ioError), during: "write a rule")

    private func askAboutPods(_ agent: TestAgent) async throws {
        let (pod, other, third) = (try ToldPod("a1"), try ToldPod("a1"), try ToldPod("a3"))
        try await expect(200, "POST", "/v1/cni/add", pod.body, of: agent)
        try await expect(200, "POST", "/v1/cni/add", pod.body, of: agent)
        try await expect(400, "POST", "/v1/cni/add", "{}", of: agent)
        try await expect(400, "POST", "/v1/cni/add", "{", of: agent)
        try await expect(409, "POST", "/v1/cni/add", other.body, of: agent)
        let wrong = try ToldPod("a2", annotations: ["swerve.dev/mode": "ebfp"])
        try await expect(422, "POST", "/v1/cni/add", wrong.body, of: agent)
        try await expect(200, "POST", "/v1/cni/check", pod.body, of: agent)
        try await expect(400, "POST", "/v1/cni/check", "[]", of: agent)
        try await expect(404, "POST", "/v1/cni/check", wrong.body, of: agent)
        try await expect(409, "POST", "/v1/cni/check", other.body, of: agent)
        agent.kernel.fail(.drift, of: .ebpf, with: trouble)
        try await expect(503, "POST", "/v1/cni/check", pod.body, of: agent)
        agent.kernel.fail(.drift, of: .ebpf)
        try await expect(422, "POST", "/v1/cni/check", pod.body, of: agent)
        agent.kernel.fail(.drift, of: .ebpf, false)
        agent.kernel.fail(.apply, of: .ebpf, with: trouble)
        try await expect(503, "POST", "/v1/cni/add", third.body, of: agent)
        agent.kernel.fail(.apply, of: .ebpf, false)
        agent.kernel.fail(.remove, of: .ebpf, with: trouble)
        try await expect(503, "POST", "/v1/cni/delete", pod.body, of: agent)
        try await expect(
            503, "POST", "/v1/cni/collect", #"{"network": "net", "valid": []}"#, of: agent)
        agent.kernel.fail(.remove, of: .ebpf)
        try await expect(422, "POST", "/v1/cni/delete", pod.body, of: agent)
        try await expect(
            422, "POST", "/v1/cni/collect", #"{"network": "net", "valid": []}"#, of: agent)
        agent.kernel.fail(.remove, of: .ebpf, false)
        try await expect(400, "POST", "/v1/cni/delete", #"{"pod": 1}"#, of: agent)
        try await expect(200, "POST", "/v1/cni/delete", pod.body, of: agent)
        try await expect(200, "POST", "/v1/cni/delete", pod.body, of: agent)
        try await expect(400, "POST", "/v1/cni/collect", #"{"network": "net"}"#, of: agent)
        try await expect(
            200, "POST", "/v1/cni/collect", #"{"network": "net", "valid": []}"#, of: agent)
        try await expect(200, "POST", "/v1/cni/status", of: agent)
        try await expect(400, "POST", "/v1/cni/status", #"{"x": 1}"#, of: agent)
    }

    private func wish(_ pod: ToldPod, _ mode: String = "auto") -> String {
        JSON(members: [
            "namespace": pod.request.namespacePath.map(JSON.string), "mode": .string(mode),
            "policy": .string("apiVersion: swerve.dev/v1\nkind: Policy\n"),
            "addresses": .array([.string("10.0.0.2")]),
        ]).rendered()
    }

    private func askOfWorkloads(_ agent: TestAgent) async throws {
        let (pod, other) = (try ToldPod("b1"), try ToldPod("b2"))
        try await expect(200, "PUT", "/v1/pods/web", wish(pod), of: agent)
        try await expect(400, "PUT", "/v1/pods/web", #"{"namespace": "web"}"#, of: agent)
        try await expect(409, "PUT", "/v1/pods/web", wish(other), of: agent)
        let sane = "apiVersion: swerve.dev/v1\\nkind: Policy"
        let insane = wish(pod).replacing(sane, with: sane + "\\npresent: fsm")
        try await expect(422, "PUT", "/v1/pods/web", insane, of: agent)
        agent.kernel.fail(.apply, of: .nft, with: trouble)
        try await expect(503, "PUT", "/v1/pods/new", wish(other, "nft"), of: agent)
        try await expect(503, "PATCH", "/v1/pods/web", #"{"mode": "nft"}"#, of: agent)
        agent.kernel.fail(.apply, of: .nft, with: .limit("there is no room"))
        try await expect(422, "PATCH", "/v1/pods/web", #"{"mode": "nft"}"#, of: agent)
        agent.kernel.fail(.apply, of: .nft, false)
        try await expect(200, "PATCH", "/v1/pods/web", #"{"mode": "nft"}"#, of: agent)
        try await expect(400, "PATCH", "/v1/pods/web", #"{"mode": "fnt"}"#, of: agent)
        try await expect(404, "PATCH", "/v1/pods/none", #"{"mode": "nft"}"#, of: agent)
        try await expect(200, "GET", "/v1/pods", of: agent)
        try await expect(400, "GET", "/v1/pods?mode=nft", of: agent)
        try await expect(200, "GET", "/v1/pods/web", of: agent)
        try await expect(400, "GET", "/v1/pods/.web", of: agent)
        try await expect(404, "GET", "/v1/pods/none", of: agent)
        try await expect(200, "GET", "/v1/pods/web/counters", of: agent)
        try await expect(404, "GET", "/v1/pods/none/counters", of: agent)
        try await expect(200, "GET", "/v1/pods/web/plan", of: agent)
        try await expect(404, "GET", "/v1/pods/none/plan", of: agent)
        let flow = "explain?to=192.0.2.7:443&uid=1000"
        try await expect(200, "GET", "/v1/pods/web/\(flow)", of: agent)
        try await expect(400, "GET", "/v1/pods/web/\(flow)&prot=tcp", of: agent)
        try await expect(404, "GET", "/v1/pods/none/\(flow)", of: agent)
        for path in ["web", "web/counters", "web/plan"] {
            try await expect(400, "GET", "/v1/pods/\(path)?x", of: agent)
        }
        try await expect(400, "DELETE", "/v1/pods/web?x", of: agent)
        try await expect(200, "GET", "/v1/pods/web", of: agent)
        try await askOfTheGone(agent, flow)
        agent.kernel.fail(.remove, of: .nft, with: trouble)
        try await expect(503, "DELETE", "/v1/pods/web", of: agent)
        agent.kernel.fail(.remove, of: .nft)
        try await expect(422, "DELETE", "/v1/pods/web", of: agent)
        agent.kernel.fail(.remove, of: .nft, false)
        try await expect(200, "DELETE", "/v1/pods/web", of: agent)
        try await expect(400, "DELETE", "/v1/pods/.web", of: agent)
    }

    private func askOfTheGone(_ agent: TestAgent, _ flow: String) async throws {
        do {
            let pod = try ToldPod("b3")
            try await expect(200, "PUT", "/v1/pods/gone", wish(pod), of: agent)
        }
        // Whether or not it has been forgotten by now.
        try await expect(404, "GET", "/v1/pods/gone/plan", of: agent)
        try await expect(404, "GET", "/v1/pods/gone/\(flow)", of: agent)
        try await expect(200, "DELETE", "/v1/pods/gone", of: agent)
    }

    /// A record that is garbage, one that cannot be read, and neither journals nor their directory.
    private func askOfTheUnreadable(_ agent: TestAgent) async throws {
        let (pod, files) = (try ToldPod("d1"), FileManager.default)
        let store = StateStore(agent.state)
        let record = store.records.path + "/\(pod.id).json"
        try Data("garbage".utf8).write(to: URL(filePath: record))
        try await askAll(500, about: pod, agent)
        try files.removeItem(atPath: record)
        try files.createDirectory(atPath: record, withIntermediateDirectories: false)
        try await askAll(503, about: pod, agent)
        try files.removeItem(atPath: record)
        let journals = agent.state + "/journal"
        try await expect(200, "POST", "/v1/cni/add", pod.body, of: agent)
        let journal = journals + "/\(pod.id).journal"
        try Data("garbage\n".utf8).write(to: URL(filePath: journal))
        let all = #"{"network": "net", "valid": []}"#
        try await expect(500, "POST", "/v1/cni/collect", all, of: agent)
        try files.removeItem(atPath: journal)
        try await expect(200, "POST", "/v1/cni/collect", all, of: agent)
        try files.removeItem(atPath: journals)
        try Data().write(to: URL(filePath: journals))
        try await expect(503, "GET", "/v1/pods", of: agent)
        try files.removeItem(atPath: journals)
        try store.prepare()
    }

    private func askAll(_ status: Int, about pod: ToldPod, _ agent: TestAgent) async throws {
        let path = "/v1/pods/\(pod.id)"
        for (method, target, body) in [
            ("POST", "/v1/cni/add", pod.body), ("POST", "/v1/cni/check", pod.body),
            ("POST", "/v1/cni/delete", pod.body), ("POST", "/v1/cni/create-pod", pod.cmdArgs),
            ("POST", "/v1/cni/delete-pod", pod.cmdArgs), ("GET", path, ""),
            ("PUT", path, wish(pod)), ("PATCH", path, #"{"mode": "nft"}"#), ("DELETE", path, ""),
            ("GET", path + "/counters", ""), ("GET", path + "/plan", ""),
            ("GET", path + "/explain?to=192.0.2.7:443", ""),
        ] {
            try await expect(status, method, target, body, of: agent)
        }
    }

    private func askOfFlomesh(_ agent: TestAgent) async throws {
        let (pod, other) = (try ToldPod("c1", annotations: [:]), try ToldPod("c1"))
        let third = try ToldPod("c3")
        let reply = try await expect(200, "POST", "/v1/cni/create-pod", pod.cmdArgs, of: agent)
        #expect(reply.text == "ok")
        let report = try await agent.ask("GET", "/v1/pods/\(pod.id)")
        #expect(report.text.contains(#""mechanism":"ebpf""#), "its pods are the mesh's")
        try await expect(400, "POST", "/v1/cni/create-pod", #"{"IfName": "eth0"}"#, of: agent)
        try await expect(409, "POST", "/v1/cni/create-pod", other.cmdArgs, of: agent)
        let wrong = try ToldPod("c2", annotations: ["swerve.dev/mode": "ebfp"])
        try await expect(422, "POST", "/v1/cni/create-pod", wrong.cmdArgs, of: agent)
        agent.kernel.fail(.apply, of: .ebpf, with: trouble)
        try await expect(503, "POST", "/v1/cni/create-pod", third.cmdArgs, of: agent)
        agent.kernel.fail(.apply, of: .ebpf, false)
        agent.kernel.fail(.remove, of: .ebpf, with: trouble)
        try await expect(503, "POST", "/v1/cni/delete-pod", pod.cmdArgs, of: agent)
        agent.kernel.fail(.remove, of: .ebpf)
        try await expect(422, "POST", "/v1/cni/delete-pod", pod.cmdArgs, of: agent)
        agent.kernel.fail(.remove, of: .ebpf, false)
        try await expect(200, "POST", "/v1/cni/delete-pod", pod.cmdArgs, of: agent)
        try await expect(400, "POST", "/v1/cni/delete-pod", "7", of: agent)
    }

    private func askOfTheNode(_ agent: TestAgent) async throws {
        for path in [
            "/v1/probe", "/v1/version", "/v1/events", "/metrics", "/healthz", "/readyz",
        ] {
            try await expect(200, "GET", path, of: agent)
        }
        try await expect(400, "GET", "/v1/events?follow=maybe", of: agent)
        let replies = try await onThread { [socket = agent.socket] in
            var followers: [Follower] = []
            for _ in 0..<64 {
                let follower = try Follower(socket)
                if let reply = try follower.refusal() { return reply }
                followers.append(follower)
            }
            return try TestRequest("GET", "/healthz").ask(socket)
        }
        note(503, "GET", "/v1/events", replies, #_sourceLocation)
    }
}

/// Listens to events for as long as it is there.
private final class Follower: Sendable {
    private let client: UnixClient

    init(_ socket: String) throws {
        client = try UnixClient.connect(socket)
        try client.send(TestRequest("GET", "/v1/events?follow=true").text)
    }

    /// The answer, if it is not a stream.
    func refusal() throws -> HTTPReply? {
        let head = try client.receive() ?? []
        guard !String(decoding: head, as: UTF8.self).hasPrefix("HTTP/1.1 200 ") else { return nil }
        return try HTTPReply(head + client.receiveAll(), ended: true)
    }
}
