// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import CNIPlugin
import Foundation
import KernelTestSupport
import KubernetesTestSupport
import LinuxKernel
import RedirectionEngine
import Testing

/// `swerved` on a node of a cluster, and what the traffic of a pod does as the cluster's labels and
/// annotations change.
@Suite(.requiresKernel, .serialized, .timeLimit(.minutes(4))) struct ClusterNodeTests {
    private static let sidecar = ["fsm-proxy-uuid": "5f0c"]

    private struct Node {
        let plugins: PluginNode
        let authority: TestAuthority
        let policy: String

        var pod: TestPod { plugins.node.pod }

        init(_ node: EngineNode) throws {
            plugins = try PluginNode(node)
            authority = try TestAuthority()
            policy = node.directory + "/policy.yaml"
            try Data("apiVersion: swerve.dev/v1\nkind: Policy\nmode: nft\n".utf8)
                .write(to: URL(filePath: policy))
        }

        func options(_ api: TestAPIServer) -> [String] {
            authority.options(to: api) + ["--policy", policy]
        }

        /// Waits until the agent has had the pod follow the cluster, and checks who gets its connections.
        func expect(_ mechanism: Mechanism?, from agent: RunningProgram) throws {
            let line = try agent.line(containing: "follows what is said of it") ?? ""
            #expect(line.contains("mechanism=\(mechanism?.rawValue ?? "none")"), "\(line)")
            try pod.expect(redirected: mechanism != nil)
        }
    }

    /// The pod as the plugin's variables name it.
    private static func set(
        _ api: TestAPIServer, _ labels: [String: String], _ annotations: [String: String] = [:]
    ) {
        api.setPod(
            "web-0", in: "shop", uid: "0c21-7", labels: labels, annotations: annotations)
    }

    @Test func `connections follow labels and annotations of a running pod`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with { engine in
                let node = try Node(engine)
                let api = try await TestAPIServer.start(node.authority)
                api.setNamespace("shop", labels: ["flomesh.io/monitored-by": "fsm"])
                Self.set(api, [:])
                try await node.plugins.withAgent(node.options(api)) { agent in
                    let add = try node.plugins.run("ADD", node.pod)
                    #expect(add.status == 0, "\(add.output)")
                    try node.pod.expect(redirected: false)
                    Self.set(api, Self.sidecar)
                    try node.expect(.nft, from: agent)
                    Self.set(api, Self.sidecar, ["swerve.dev/mode": "ebpf"])
                    try node.expect(.ebpf, from: agent)
                    Self.set(api, Self.sidecar, ["swerve.dev/mode": "legacy"])
                    try node.expect(.legacy, from: agent)
                    Self.set(api, Self.sidecar, ["flomesh.io/sidecar-injection": "disabled"])
                    try node.expect(nil, from: agent)
                    Self.set(api, Self.sidecar)
                    try node.expect(.nft, from: agent)
                    api.setNamespace("shop")
                    try node.expect(nil, from: agent)
                    #expect(try node.plugins.run("DEL", node.pod).status == 0)
                }
                await api.stop()
            }
        }
    }

    @Test func `an API server that is down delays nothing known, and takes nobody out`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with { engine in
                let node = try Node(engine)
                let api = try await TestAPIServer.start(node.authority)
                api.setNamespace("shop", labels: ["flomesh.io/monitored-by": "fsm"])
                Self.set(api, Self.sidecar)
                try await node.plugins.withAgent(node.options(api)) { agent in
                    #expect(try node.plugins.run("ADD", node.pod).status == 0)
                    try node.pod.expect(redirected: true)
                    // ADD may have asked before the watch has told of the pod.
                    let known = "swerve_kubernetes_objects{resource=\"pods\"}"
                    try await waitUntil { try node.plugins.metric(known) ?? 0 > 0 }
                    await api.stop()
                    #expect(try agent.line(containing: "cannot be reached") != nil)
                    try node.pod.expect(redirected: true)
                    #expect(try node.plugins.run("ADD", node.pod).status == 0)
                }
                // The next agent has never heard of it, and knows the record.
                try await node.plugins.withAgent(node.options(api)) { agent in
                    let failures = "swerve_kubernetes_failures_total{resource=\"pods\"}"
                    try await waitUntil { try node.plugins.metric(failures) ?? 0 > 0 }
                    try node.pod.expect(redirected: true)
                    #expect(try node.plugins.ask("GET", "/readyz").status == 200)
                    let error = try node.plugins.run("ADD", node.pod).error()
                    #expect(error.code == 11)
                    #expect(error.message.contains("is not known"), "\(error)")
                    #expect(error.details.contains("swerve.dev/mode"), "\(error)")
                    try node.pod.expect(redirected: true)
                    let own = ["swerve.dev/mode": "legacy"]
                    #expect(try node.plugins.run("ADD", node.pod, own).status == 0)
                    try node.pod.expect(redirected: true)
                    let again = try await TestAPIServer.start(node.authority, after: api)
                    try node.expect(.nft, from: agent)
                    #expect(try node.plugins.run("DEL", node.pod).status == 0)
                    await again.stop()
                }
            }
        }
    }

    @Test func `a pod in kubelet's cgroup can have ebpf where that goes by cgroups`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with(below: KernelVersion(5, 4)) { engine in
                let plugins = try PluginNode(engine)
                let kubepods = engine.cgroup.child("kubepods")
                let own = kubepods.child("pod0c21-7")
                for cgroup in [kubepods, own] {
                    try cgroup.create()
                    try cgroup.makeThreaded()
                }
                let pod = try engine.pod.living(in: own)
                try await plugins.withAgent(["--max-features", "5.4"]) { _ in
                    let add = try plugins.run("ADD", pod, ["swerve.dev/mode": "ebpf"])
                    #expect(add.status == 0, "\(add.output)")
                    let pods = try plugins.ask("GET", "/v1/pods").text
                    #expect(pods.contains("kubepods/pod0c21-7"), "\(pods)")
                    try pod.expect(redirected: true)
                    #expect(try plugins.run("DEL", pod).status == 0)
                    try pod.expect(redirected: false)
                }
                try own.remove()
            }
        }
    }

    @Test func `what the daemon is told wrongly about the cluster is named`() throws {
        let cases: [([String], String)] = [
            (["--kubernetes", "--node-name", "n"], "KUBERNETES_SERVICE_HOST"),
            (["--kube-server", "https://kube"], "--node-name"),
            (["--kube-server", "http://kube", "--node-name", "n"], "http://kube"),
            (["--kube-ca-file", "/ca"], "--kube-ca-file"),
            (["--kube-server", "https://kube", "--kube-token-file", "t"], "--kube-token-file t"),
        ]
        for (options, says) in cases {
            let result = try BuiltProgram.run("swerved", options)
            #expect(result.status == 2, "\(result)")
            #expect(result.output.contains(says), "\(result)")
        }
    }
}
