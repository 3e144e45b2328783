// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import Foundation
import KernelTestSupport
import LinuxKernel
import Testing

/// Commands beside an agent: what they are asked is done there, and seen there.
@Suite(.requiresKernel, .serialized, .timeLimit(.minutes(4))) struct AgentCommandTests {
    /// A node whose agent listens, and commands for it.
    private struct Commands {
        let plugins: PluginNode
        /// What the agent has of its own, and commands without it have to be told.
        let others: [String]

        init(_ node: EngineNode, hasAgent: Bool = true) throws {
            plugins = try PluginNode(node)
            others = hasAgent ? [] : ["--pins", node.pins, "--cgroup-root", node.cgroup.path]
            let policy = "apiVersion: swerve.dev/v1\nkind: Policy\n"
            try Data(policy.utf8).write(to: URL(filePath: file("policy")))
        }

        func file(_ name: String) -> String { plugins.node.directory + "/\(name).yaml" }

        func swerve(_ words: String...) throws -> BuiltProgram.Result { try swerve(words) }

        func swerve(_ words: [String]) throws -> BuiltProgram.Result {
            try BuiltProgram.run(
                "swerve", words + ["--state-dir", plugins.node.state] + others)
        }

        /// How often the agent has been asked for this, and has done it.
        func requests(_ method: String) throws -> Int {
            try plugins.metric(
                #"swerve_requests_total{method="\#(method)",route="/v1/pods/{id}",status="200"}"#)
                ?? 0
        }
    }

    @Test func `apply, mode and remove go through the agent, unless they are not to`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with { node in
                let commands = try Commands(node)
                let policy = commands.file("policy")
                let netns = try node.namespace
                try await commands.plugins.withAgent { _ in
                    let own = ["--pins", node.pins, "--cgroup-root", node.cgroup.path]
                    for (standalone, count) in [([], 1), (["--standalone"] + own, 1)] {
                        let apply = try BuiltProgram.run(
                            "swerve",
                            [
                                "apply", "-f", policy, "--netns", netns, "--name", "web",
                                "--mode", "nft", "--state-dir", node.state,
                            ] + standalone)
                        #expect(apply.output == "web: redirected by nft (asked for)\n")
                        #expect(try commands.requests("PUT") == count)
                        try node.pod.expect(redirected: true)
                    }
                    for option in [Array(own[..<2]), Array(own[2...]), ["--max-features", "5.4"]] {
                        let mode = try commands.swerve(["mode", "web", "legacy"] + option)
                        #expect(mode.status == 2)
                        #expect(mode.output.contains("\(option[0]): the agent"))
                    }
                    for id in ["web?x", "web#x", "web/counters"] {
                        let remove = try commands.swerve("remove", id)
                        #expect(remove.status == 1 && remove.output.contains("\"\(id)\""))
                    }
                    try node.pod.expect(redirected: true)
                    let mode = try commands.swerve("mode", "web", "legacy")
                    #expect(mode.output == "web: redirected by legacy (asked for)\n")
                    #expect(try commands.requests("PATCH") == 1)
                    try node.pod.expect(redirected: true)
                    let nobody = try commands.swerve("mode", "nobody", "nft")
                    #expect(nobody.status == 1)
                    #expect(nobody.output.contains("there is no workload \"nobody\""))
                    let nowhere = try commands.swerve("remove", "nobody")
                    #expect(nowhere.status == 1, "\(nowhere.output)")
                    let remove = try commands.swerve("remove", "web")
                    #expect(remove.output == "web: removed\n")
                    #expect(try commands.requests("DELETE") == 1)
                    try node.pod.expect(redirected: false)
                }
            }
        }
    }

    @Test(arguments: [true, false])
    func `a file of workloads is applied as far as it can be`(_ hasAgent: Bool) async {
        await #expect(processExitsWith: .success) { [hasAgent] in
            try await EngineNode.with { node in
                let commands = try Commands(node, hasAgent: hasAgent)
                let other = try TestPod.create("db", number: 1)
                let own = try ProcessIdentity.current().pid
                let text = """
                    apiVersion: swerve.dev/v1
                    kind: Workloads
                    policy:
                      mode: nft
                    workloads:
                      - name: web
                        netns: \(try node.namespace)
                      - name: gone
                        netns: /run/netns/gone
                      - name: db
                        netns: /proc/\(own)/fd/\(other.namespace.rawDescriptor)
                        policy: {mode: legacy, outbound: {exclude: {ports: [22]}}}
                    """
                let file = commands.file("workloads")
                try Data(text.utf8).write(to: URL(filePath: file))
                let check = { () throws in
                    for _ in 0..<2 {
                        let apply = try commands.swerve("apply", "-f", file)
                        #expect(apply.status == 1)
                        #expect(apply.output.contains("web: redirected by nft (asked for)\n"))
                        #expect(apply.output.contains("db: redirected by legacy (asked for)\n"))
                        #expect(apply.output.contains("swerve: gone: "))
                        #expect(apply.output.contains("/run/netns/gone"))
                    }
                    try node.pod.expect(redirected: true)
                    try other.expect(redirected: true)
                    for name in ["web", "db"] {
                        #expect(try commands.swerve("remove", name).status == 0)
                    }
                    try node.pod.expect(redirected: false)
                }
                if hasAgent {
                    try await commands.plugins.withAgent { _ in try check() }
                } else {
                    try check()
                }
            }
        }
    }
}
