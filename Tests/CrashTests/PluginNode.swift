// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import CNIPlugin
import KernelTestSupport
import LinuxKernel
import OrderedJSON
import RedirectionEngine
import RedirectionModel
import Testing

/// `swerved` on a node of the test's own, and the plugin, as a runtime starts it.
struct PluginNode {
    let node: EngineNode
    let network: TestNetwork

    var socket: String { node.state + "/agent.sock" }

    init(_ node: EngineNode) throws {
        self.node = node
        network = try TestNetwork()
    }

    func agent(
        _ options: [String] = [], through wrapper: [String] = []
    ) throws -> RunningProgram {
        let agent = try RunningProgram(
            "swerved",
            [
                "--state-dir", node.state, "--pins", node.pins, "--cgroup-root", node.cgroup.path,
                "--period", "0.5",
            ] + options, joiningErrors: true, through: wrapper)
        #expect(try agent.line(containing: "recovered") != nil)
        return agent
    }

    /// Runs `body` beside an agent, which ends well.
    func withAgent(
        _ options: [String] = [], _ body: (RunningProgram) async throws -> Void
    ) async throws {
        let agent = try agent(options)
        try await body(agent)
        try agent.terminate()
        #expect(try agent.finish() == 0)
    }

    /// The plugin for a pod, in the words of CNI 1.1.
    func run(
        _ command: String, _ pod: TestPod, container: String = PluginProcess.container,
        _ annotations: [String: String] = [:], _ fields: KeyValuePairs<String, JSON?> = [:]
    ) throws -> PluginProcess.Answer {
        try plugin(command, pod, container).run(input(pod, annotations, fields))
    }

    func plugin(
        _ command: String, _ pod: TestPod, _ container: String = PluginProcess.container
    ) throws -> PluginProcess {
        let own = try ProcessIdentity.current().pid
        return PluginProcess(command)
            .with("CNI_NETNS", "/proc/\(own)/fd/\(pod.namespace.rawDescriptor)")
            .with("CNI_CONTAINERID", container)
    }

    func input(
        _ pod: TestPod, _ annotations: [String: String] = [:],
        _ fields: KeyValuePairs<String, JSON?> = [:]
    ) -> JSON {
        let passed = JSON.object(
            annotations.sorted { $0.key < $1.key }.map { .init($0.key, .string($0.value)) })
        let addresses = pod.addresses.values.sorted().map { address in
            JSON(members: ["address": .string("\(address)/24")])
        }
        var json = network.input(
            .v1_1_0,
            [
                "agentSocket": .string(socket),
                "runtimeConfig": JSON(members: ["io.kubernetes.cri.pod-annotations": passed]),
                "prevResult": JSON(members: [
                    "cniVersion": .string("1.1.0"), "ips": .array(addresses),
                ]),
            ])
        for (name, value) in fields { json = json.setting(name, to: value) }
        return json
    }

    func ask(_ method: String, _ target: String, _ body: String = "") throws -> HTTPReply {
        try TestRequest(method, target, body).ask(socket)
    }

    /// The number of a metric; the labels are part of its name.
    func metric(_ name: String) throws -> Int? {
        let lines = try ask("GET", "/metrics").text.split(separator: "\n")
        return lines.first { $0.hasPrefix(name + " ") }
            .flatMap { Int($0.dropFirst(name.count + 1)) }
    }
}
