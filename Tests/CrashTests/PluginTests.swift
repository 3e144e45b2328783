// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import Foundation
import KernelTestSupport
import LinuxKernel
import OrderedJSON
import RedirectionEngine
import RedirectionModel
import Synchronization
import Testing

/// What a runtime sees: the plugin, the agent behind it, and the pod's traffic.
@Suite(.requiresKernel, .serialized, .timeLimit(.minutes(4))) struct PluginTests {
    @Test(arguments: ["ebpf", "nft", "legacy"])
    func `a pod is redirected by ADD, sound by CHECK, and left alone by DEL`(
        _ mode: String
    ) async {
        await #expect(processExitsWith: .success) { [mode] in
            try await EngineNode.with { node in
                let plugins = try PluginNode(node)
                let pod = node.pod
                let wish = ["swerve.dev/mode": mode]
                try await plugins.withAgent { _ in
                    try pod.expect(redirected: false)
                    for _ in 0..<2 {
                        let add = try plugins.run("ADD", pod, wish)
                        #expect(add.status == 0, "\(add.output)")
                        try pod.expect(redirected: true)
                        let check = try plugins.run("CHECK", pod, wish)
                        #expect(check.status == 0, "\(check.output)")
                    }
                    let row =
                        #"swerve_connections_total{mechanism="\#(mode)","#
                        + #"direction="outbound",verdict="redirect-outbound",reason="outbound"}"#
                    #expect(try plugins.metric(row) ?? 0 >= 1)
                    let pods = try plugins.ask("GET", "/v1/pods").text
                    #expect(pods.contains(#""name":"web-0""#) && pods.contains(#""isThere":true"#))
                    #expect(try plugins.run("DEL", pod).status == 0)
                    try pod.expect(redirected: false)
                    let again = try plugins.plugin("DEL", pod).with("CNI_NETNS", nil)
                    #expect(try again.run(plugins.input(pod, [:], ["prevResult": nil])).status == 0)
                    #expect(try plugins.run("CHECK", pod, wish).error().code == 100)
                    // What was counted is not lost with the pod.
                    #expect(try plugins.metric(row) ?? 0 >= 2)
                    #expect(try plugins.ask("GET", "/v1/pods").text.contains(#""workloads":[]"#))
                }
            }
        }
    }

    @Test func `the node's policy decides about pods that say nothing`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with { node in
                let plugins = try PluginNode(node)
                let pod = node.pod
                try await plugins.withAgent { _ in
                    #expect(try plugins.run("ADD", pod).status == 0)
                    try pod.expect(redirected: false)
                    #expect(try plugins.run("CHECK", pod).status == 0)
                    // It may still be had, without the runtime.
                    let id = PluginProcess.container + "@eth0"
                    let patch = try plugins.ask("PATCH", "/v1/pods/\(id)", #"{"mode": "nft"}"#)
                    #expect(patch.status == 200, "\(patch.text)")
                    try pod.expect(redirected: true)
                    #expect(try plugins.run("DEL", pod).status == 0)
                }
                let policy = node.directory + "/policy.yaml"
                try Data("apiVersion: swerve.dev/v1\nkind: Policy\nmode: nft\n".utf8)
                    .write(to: URL(filePath: policy))
                try await plugins.withAgent(["--policy", policy, "--log-format", "json"]) { agent in
                    #expect(try plugins.run("ADD", pod).status == 0)
                    try pod.expect(redirected: true)
                    let line = try #require(try agent.line(containing: #""event":"applied""#))
                    #expect(try JSON(parsing: line)["mechanism"] == .string("nft"))
                    #expect(try plugins.run("DEL", pod).status == 0)
                    let none = ["swerve.dev/mode": "none"]
                    #expect(try plugins.run("ADD", pod, none).status == 0)
                    try pod.expect(redirected: false)
                    #expect(try plugins.run("DEL", pod).status == 0)
                }
            }
        }
    }

    @Test func `STATUS and GC answer for the node`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with { node in
                let plugins = try PluginNode(node)
                let (pod, other) = (node.pod, try TestPod.create("other", number: 1))
                let nft = ["swerve.dev/mode": "nft"]
                try await plugins.withAgent { _ in
                    #expect(try plugins.run("STATUS", pod).status == 0)
                    #expect(try plugins.run("ADD", pod, container: "one", nft).status == 0)
                    #expect(try plugins.run("ADD", other, container: "two", nft).status == 0)
                    let valid = JSON.array([
                        JSON(members: ["containerID": .string("two"), "ifname": .string("eth0")])
                    ])
                    let collect = try plugins.run(
                        "GC", pod, [:], ["cni.dev/valid-attachments": valid])
                    #expect(collect.status == 0, "\(collect.output)")
                    try pod.expect(redirected: false)
                    try other.expect(redirected: true)
                    #expect(try plugins.run("DEL", other, container: "two").status == 0)
                }
            }
        }
    }

    @Test func `ten pods come at once, and go at once`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with { node in
                let plugins = try PluginNode(node)
                var pods: [TestPod] = []
                for number in 0..<10 {
                    pods.append(try TestPod.create("pod\(number)", number: UInt32(number + 1)))
                }
                try await plugins.withAgent { _ in
                    try await Self.each(pods) { number in
                        let mode = ["ebpf", "nft", "legacy"][number % 3]
                        return (
                            try plugins.plugin("ADD", pods[number], "c\(number)"),
                            plugins.input(pods[number], ["swerve.dev/mode": mode])
                        )
                    }
                    for pod in pods { try pod.expect(redirected: true) }
                    #expect(
                        try plugins.metric(
                            #"swerve_map_entries{mechanism="ebpf",map="swerve_pods"}"#) == 4)
                    try await Self.each(pods) { number in
                        (
                            try plugins.plugin("DEL", pods[number], "c\(number)"),
                            plugins.input(pods[number])
                        )
                    }
                    for pod in pods { try pod.expect(redirected: false) }
                    #expect(try plugins.ask("GET", "/v1/pods").text.contains(#""workloads":[]"#))
                }
            }
        }
    }

    /// Runs a plugin for each pod, all at the same time.
    private static func each(
        _ pods: [TestPod], _ prepare: (Int) throws -> (PluginProcess, JSON)
    ) async throws {
        try await withThrowingTaskGroup(of: PluginProcess.Answer.self) { group in
            for number in pods.indices {
                let (plugin, input) = try prepare(number)
                group.addTask { try await onThread { try plugin.run(input) } }
            }
            for try await answer in group { #expect(answer.status == 0, "\(answer.output)") }
        }
    }
}
