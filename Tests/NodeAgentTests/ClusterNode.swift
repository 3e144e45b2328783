// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import KernelTestSupport
import KubernetesClient
import KubernetesTestSupport
import LinuxKernel
import NodeAgent
import RedirectionEngine
import RedirectionModel
import Testing

/// A node of a cluster: its agent, its API server, and what is on record.
struct ClusterNode {
    let agent: TestAgent
    let api: TestAPIServer
    let authority: TestAuthority
    let access: ClusterAccess

    /// What makes a pod the mesh's, and a namespace.
    static let sidecar = ["fsm-proxy-uuid": "5f0c"]
    static let mesh = ["flomesh.io/monitored-by": "fsm"]

    static func access(_ api: TestAPIServer, _ authority: TestAuthority) throws -> ClusterAccess {
        let server = try APIServer(
            url: api.url, tokenFile: authority.tokenFile, authorityFile: authority.authorityFile)
        var access = ClusterAccess(server: server, node: "node-1")
        access.backoff = Backoff(first: .milliseconds(10), longest: .milliseconds(50))
        access.retry = .milliseconds(50)
        access.patience = .seconds(20)
        return access
    }

    /// Runs `body` on a node whose agent knows the cluster; the namespace `shop` is the mesh's.
    static func with(
        policy: Policy? = Policy(), refusing: Set<Mechanism> = [], patience: Duration? = nil,
        period: Duration = .seconds(3600), attachments: Directory? = nil, cgroups: Cgroup? = nil,
        _ body: (ClusterNode) async throws -> Void
    ) async throws {
        let authority = try TestAuthority()
        let api = try await TestAPIServer.start(authority)
        api.setNamespace("shop", labels: mesh)
        var access = try access(api, authority)
        if let patience { access.patience = patience }
        try await TestAgent.with(
            policy: policy, refusing: refusing, period: period, cluster: access, cgroups: cgroups,
            attachments: attachments
        ) { agent in
            let node = ClusterNode(agent: agent, api: api, authority: authority, access: access)
            try await KernelTestSupport.waitUntil { try await node.isSynced() }
            try await body(node)
        }
        await api.stop()
    }

    func record(of pod: ToldPod) throws -> WorkloadRecord? {
        try StateStore(agent.state).record(of: pod.id)
    }

    func waitUntil(_ mode: PolicyMode, _ pod: ToldPod) async throws {
        try await KernelTestSupport.waitUntil { try record(of: pod)?.mode == mode }
        #expect(try (record(of: pod)?.mechanism == nil) == (mode == .none))
    }

    func add(_ pod: ToldPod) async throws -> HTTPReply {
        try await agent.ask("POST", "/v1/cni/add", pod.body)
    }

    /// Says the same of a pod as its plugin, with these labels.
    func set(_ pod: ToldPod, labels: [String: String] = ClusterNode.sidecar) {
        api.setPod(
            pod.request.pod.name ?? "", in: "shop", uid: pod.request.pod.uid ?? "",
            labels: labels, annotations: pod.request.annotations ?? [:])
    }

    func isSynced() async throws -> Bool {
        for resource in ["pods", "namespaces"] {
            let words = "swerve_kubernetes_silence_seconds{resource=\"\(resource)\"}"
            guard try await measures(words) else { return false }
        }
        return true
    }

    func waitUntilKnown(pods: Int) async throws {
        try await KernelTestSupport.waitUntil {
            try await measures("swerve_kubernetes_objects{resource=\"pods\"} \(pods)\n")
        }
    }

    /// Waits until the agent has looked at everything a few times more, by a pod that loses its
    /// redirection.
    func rest() async throws {
        let marker = try ToldPod("rest")
        #expect(try await add(marker).status == 200)
        let mechanism = try #require(agent.kernel.holders(of: marker.id).first)
        for _ in 0..<4 {
            agent.kernel.lose(mechanism, of: marker.id)
            try await KernelTestSupport.waitUntil {
                agent.kernel.holders(of: marker.id).contains(mechanism)
            }
        }
        #expect(try await agent.ask("POST", "/v1/cni/delete", marker.body).status == 200)
    }

    /// Whether the metrics have these words.
    func measures(_ words: String) async throws -> Bool {
        try await agent.ask("GET", "/metrics").text.contains(words)
    }
}
