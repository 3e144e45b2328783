// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import Foundation
import KernelTestSupport
import KubernetesClient
import KubernetesTestSupport
import LinuxKernel
import OrderedJSON
import RedirectionEngine
import RedirectionModel
import Testing

@testable import NodeAgent

/// Which pods are redirected on a cluster's node, and how they follow what is said of them there.
@Suite(.requiresKernel, .timeLimit(.minutes(3))) struct ClusterTests {
    @Test func `the mesh's pods are redirected, and no others`() async throws {
        try await ClusterNode.with { node in
            let (member, other) = (
                try ToldPod("a1", annotations: [:]), try ToldPod("b2", annotations: [:])
            )
            node.set(member)
            node.set(other, labels: [:])
            #expect(try await node.add(member).text.contains(#""redirected":true"#))
            let answer = try await node.add(other).text
            #expect(answer.contains(#""redirected":false"#), "\(answer)")
            #expect(answer.contains("it has no label fsm-proxy-uuid"), "\(answer)")
        }
    }

    @Test func `labels and annotations take pods in and out while they run`() async throws {
        try await ClusterNode.with { node in
            var pod = try ToldPod("a1", annotations: [:])
            node.set(pod, labels: [:])
            _ = try await node.add(pod)
            try await node.waitUntil(.none, pod)
            node.set(pod)
            try await node.waitUntil(.auto, pod)
            // The namespace leaves the mesh, and comes back.
            node.api.setNamespace("shop")
            try await node.waitUntil(.none, pod)
            node.api.setNamespace("shop", labels: ClusterNode.mesh)
            try await node.waitUntil(.auto, pod)
            pod.request.annotations = ["flomesh.io/sidecar-injection": "disabled"]
            node.set(pod)
            try await node.waitUntil(.none, pod)
            // What is nearest counts: the pod's own word over the mesh's and the namespace's.
            pod.request.annotations = ["swerve.dev/mode": "nft"]
            node.set(pod, labels: [:])
            try await node.waitUntil(.nft, pod)
            pod.request.annotations = [:]
            node.api.setNamespace("shop", annotations: ["swerve.dev/mode": "legacy"])
            node.set(pod, labels: [:])
            try await node.waitUntil(.legacy, pod)
        }
    }

    @Test func `a plan follows annotations of the pod and of its namespace`() async throws {
        try await ClusterNode.with { node in
            var pod = try ToldPod("a1", annotations: [:])
            node.set(pod)
            _ = try await node.add(pod)
            node.api.setNamespace(
                "shop", labels: ClusterNode.mesh,
                annotations: ["swerve.dev/exclude-outbound-ports": "22"])
            pod.request.annotations = ["flomesh.io/outbound-port-exclusion-list": "25"]
            node.set(pod)
            try await waitUntil {
                try node.record(of: pod)?.plan.outbound.excludedPorts.description == "22,25"
            }
            #expect(try node.record(of: pod)?.mode == .auto)
        }
    }

    @Test func `a slip leaves the pod as it is, and is told`() async throws {
        try await ClusterNode.with { node in
            var pod = try ToldPod("a1", annotations: [:])
            node.set(pod)
            _ = try await node.add(pod)
            pod.request.annotations = ["swerve.dev/mode": "ebfp"]
            node.set(pod)
            try await waitUntil { node.api.events.contains { $0["type"]?.text == "Warning" } }
            let event = try #require(node.api.events.first { $0["type"]?.text == "Warning" })
            #expect(event["reason"]?.text == "RedirectionRefused")
            #expect(event["message"]?.text?.contains("ebfp") == true)
            #expect(event["involvedObject"]?["name"]?.text == "web-a1")
            #expect(event["involvedObject"]?["uid"]?.text == "0c21")
            #expect(event["metadata"]?["namespace"]?.text == "shop")
            #expect(try node.record(of: pod)?.mode == .auto)
            pod.request.annotations = ["swerve.dev/mode": "ebpf"]
            node.set(pod)
            try await node.waitUntil(.ebpf, pod)
        }
    }

    @Test func `who falls back is told once`() async throws {
        try await ClusterNode.with(refusing: [.ebpf]) { node in
            let pod = try ToldPod("a1", annotations: [:])
            node.set(pod)
            for _ in 0..<3 { #expect(try await node.add(pod).status == 200) }
            try await waitUntil { !node.api.events.isEmpty }
            let later = try ToldPod("b2", annotations: [:])
            node.set(later)
            _ = try await node.add(later)
            try await waitUntil { node.api.events.count == 2 }
            let names = node.api.events.map { $0["involvedObject"]?["name"]?.text }
            #expect(names == ["web-a1", "web-b2"])
            #expect(node.api.events.allSatisfy { $0["reason"]?.text == "RedirectionFallback" })
        }
    }

    @Test func `what is known waits for nobody; what is not is asked for, or refused`() async throws
    {
        try await ClusterNode.with { node in
            let pod = try ToldPod("a1", annotations: [:])
            node.set(pod)
            _ = try await node.add(pod)
            try await node.waitUntilKnown(pods: 1)
            await node.api.stop()
            // It is known, and so is what it says itself.
            #expect(try await node.add(pod).status == 200)
            let own = try ToldPod("b2", annotations: ["swerve.dev/mode": "nft"])
            #expect(try await node.add(own).status == 200)
            let stranger = try ToldPod("c3", annotations: [:])
            let refused = try await node.add(stranger)
            #expect(refused.status == 503, "\(refused.text)")
            #expect(refused.text.contains("whether pod shop/web-c3 is the mesh's is not known"))
            #expect(refused.text.contains(#""retryable":true"#))
            #expect(try node.record(of: pod)?.mechanism != nil)
            let again = try await TestAPIServer.start(node.authority, after: node.api)
            // Asked for: the watch of another node's pods does not tell of it.
            again.setPod(
                "web-c3", in: "shop", uid: "0c21", node: "node-2", labels: ClusterNode.sidecar)
            #expect(try await node.add(stranger).status == 200)
            #expect(try node.record(of: stranger)?.mode == .auto)
            await again.stop()
        }
    }

    @Test(arguments: [TestAPIServer.Stall.beforeHead, .afterHead])
    func `a server that hangs is asked about strangers alone, on whom something depends`(
        _ stall: TestAPIServer.Stall
    ) async throws {
        try await ClusterNode.with(patience: .seconds(1)) { node in
            let pod = try ToldPod("a1", annotations: [:])
            node.set(pod)
            node.api.setNamespace("kube-system")
            try await node.waitUntilKnown(pods: 1)
            try await waitUntil {
                try await node.agent.ask("GET", "/metrics").text
                    .contains("swerve_kubernetes_objects{resource=\"namespaces\"} 2\n")
            }
            node.api.stallObjects(stall)
            #expect(try await node.add(pod).text.contains(#""redirected":true"#))
            let own = try ToldPod("b2", annotations: ["swerve.dev/mode": "nft"])
            #expect(try await node.add(own).status == 200)
            // Whatever its labels: its namespace is nobody's.
            var other = try ToldPod("c3", annotations: [:])
            other.request.pod = PodIdentity(namespace: "kube-system", name: "dns", uid: "0c23")
            let left = try await node.add(other)
            #expect(left.text.contains(#""redirected":false"#), "\(left.text)")
            #expect(node.api.seen.filter(\.isOfObject).isEmpty)
            let stranger = try await node.add(try ToldPod("d4", annotations: [:]))
            #expect(stranger.status == 503 && stranger.text.contains("has said nothing for 1.0"))
            #expect(!node.api.seen.filter(\.isOfObject).isEmpty)
        }
    }

    @Test func `a pod whose namespace the server does not know is no stranger's`() async throws {
        try await ClusterNode.with { node in
            var pod = try ToldPod("a1", annotations: [:])
            pod.request.pod = PodIdentity(namespace: "new", name: "web", uid: "0c24")
            node.api.setPod("web", in: "new", uid: "0c24", labels: ClusterNode.sidecar)
            let refused = try await node.add(pod)
            #expect(refused.status == 503, "\(refused.text)")
            #expect(refused.text.contains("knows no namespace new"), "\(refused.text)")
            #expect(refused.text.contains(#""retryable":true"#))
            #expect(try node.record(of: pod) == nil)
            node.api.setNamespace("new", labels: ClusterNode.mesh)
            #expect(try await node.add(pod).text.contains(#""redirected":true"#))
        }
    }

    @Test func `who is deleted while it is asked about does not come back`() async throws {
        try await ClusterNode.with(patience: .seconds(60)) { node in
            let pod = try ToldPod("a1", annotations: [:])
            node.api.stallObjects(.beforeHead)
            let add = Task { try await node.add(pod) }
            try await waitUntil { node.api.seen.contains(where: \.isOfObject) }
            #expect(try await node.agent.ask("POST", "/v1/cni/delete", pod.body).status == 200)
            // It ends now, and not well.
            await node.api.stop()
            let refused = try await add.value
            #expect(refused.text.contains("was deleted while"), "\(refused.text)")
            #expect(try node.record(of: pod) == nil)
        }
    }

    @Test func `pods that were started without us hold up nothing while they are asked about`()
        async throws
    {
        let state = "/tmp/swerve-agent-\(UInt32.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: state) }
        try StateStore(state).prepare()
        let authority = try TestAuthority()
        let api = try await TestAPIServer.start(authority)
        api.setNamespace("shop", labels: ClusterNode.mesh)
        api.stallObjects(.afterHead)
        var access = try ClusterNode.access(api, authority)
        access.patience = .seconds(120)
        let (stranger, own) = (
            try ToldPod("a1", annotations: [:]),
            try ToldPod("b2", annotations: ["swerve.dev/mode": "nft"])
        )
        let directory = FailedOpen.directory(besides: state + "/agent.sock")
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        for pod in [stranger, own] {
            let left = FailedOpen(request: pod.request, reason: "down").json.rendered()
            try Data(left.utf8).write(to: URL(filePath: directory + "/" + pod.id))
        }
        try await TestAgent.with(
            policy: Policy(), state: state, period: .milliseconds(100), cluster: access
        ) { agent in
            try await waitUntil { api.seen.contains(where: \.isOfObject) }
            try await waitUntil { agent.kernel.holders(of: own.id).contains(.nft) }
            // Nor is it in the way of what the agent does each period.
            agent.kernel.lose(.nft, of: own.id)
            try await waitUntil { agent.kernel.holders(of: own.id).contains(.nft) }
            #expect(try StateStore(state).record(of: stranger.id) == nil)
        }
        await api.stop()
    }

    @Test func `a pod that keeps failing is told of now and then, and silences nobody`() {
        var memory = EventMemory()
        let start = ContinuousClock.now
        func topic(_ number: Int) -> EventMemory.Topic {
            .init(pod: PodIdentity(namespace: "shop", name: "\(number)", uid: nil), reason: "r")
        }
        func take(
            _ message: String, of topic: EventMemory.Topic, at now: ContinuousClock.Instant
        ) -> Bool { memory.take(message, of: topic, at: now) }
        var told = 0
        for turn in 0..<360 {
            let now = start + Duration.seconds(10 * turn)
            if take("netns \(turn)", of: topic(0), at: now) { told += 1 }
        }
        #expect((3...9).contains(told), "\(told)")
        #expect(memory.count == 1)
        let now = start + .seconds(3600)
        #expect(take("x", of: topic(1), at: now))
        #expect(!take("x", of: topic(1), at: now + .seconds(3599)))
        #expect(take("x", of: topic(1), at: now + .seconds(3600)))
        // What could not be told may be told again.
        memory.forgetLast(of: topic(1))
        #expect(take("x", of: topic(1), at: now + .seconds(3601)))
        for number in 0..<(3 * EventMemory.limit) {
            #expect(take("x", of: topic(10 + number), at: now + .seconds(3700)))
        }
        #expect(memory.count == EventMemory.limit)
    }

    @Test func `an agent that begins anew leaves pods as they are until it knows better`()
        async throws
    {
        let state = "/tmp/swerve-agent-\(UInt32.random(in: 0 ... .max))"
        let authority = try TestAuthority()
        let api = try await TestAPIServer.start(authority)
        api.setNamespace("shop", labels: ClusterNode.mesh)
        let access = try ClusterNode.access(api, authority)
        var (first, second) = (
            try ToldPod("a1", annotations: [:]), try ToldPod("b2", annotations: [:])
        )
        func node(_ agent: TestAgent) -> ClusterNode {
            ClusterNode(agent: agent, api: api, authority: authority, access: access)
        }
        let (agent, daemon) = TestAgent.make(policy: Policy(), state: state, cluster: access)
        defer { try? FileManager.default.removeItem(atPath: state) }
        let run = Task { try await daemon.run() }
        try await agent.waitUntilReady(run)
        for pod in [first, second] {
            node(agent).set(pod)
            _ = try await node(agent).add(pod)
        }
        let change = try await agent.ask(
            "PATCH", "/v1/pods/\(first.id)", #"{"mode": "legacy"}"#)
        #expect(change.status == 200, "\(change.text)")
        run.cancel()
        try await run.value
        await api.stop()
        second.request.annotations = ["swerve.dev/mode": "nft"]
        node(agent).set(second)
        try await TestAgent.with(policy: Policy(), state: state, cluster: access) { agent in
            let down = node(agent)
            #expect(try down.record(of: first)?.mode == .legacy)
            #expect(try down.record(of: second)?.mode == .auto)
            let again = try await TestAPIServer.start(authority, after: api)
            try await down.waitUntil(.nft, second)
            // What an operator has chosen by hand stays, while nothing else is said of the pod.
            #expect(try down.record(of: first)?.mode == .legacy)
            first.request.annotations = ["swerve.dev/exclude-outbound-ports": "22"]
            down.set(first)
            try await down.waitUntil(.auto, first)
            await again.stop()
        }
    }

    @Test func `a later pod of the same name is another one`() async throws {
        try await ClusterNode.with { node in
            let old = try ToldPod("a1", annotations: [:])
            node.set(old)
            _ = try await node.add(old)
            // The runtime still has the old one when the new one is known.
            node.api.setPod("web-a1", in: "shop", uid: "0c22")
            let marker = try ToldPod("b2", annotations: [:])
            node.set(marker, labels: [:])
            _ = try await node.add(marker)
            node.set(marker)
            try await node.waitUntil(.auto, marker)
            #expect(try node.record(of: old)?.mode == .auto)
        }
    }

    @Test func `who is told of by the mesh's own plugin needs no mark`() async throws {
        try await ClusterNode.with { node in
            var pod = try ToldPod("a1", annotations: [:])
            pod.request.pod = PodIdentity(namespace: "shop", name: "web")
            let reply = try await node.agent.ask("POST", "/v1/cni/create-pod", pod.cmdArgs)
            #expect(reply.status == 200, "\(reply.text)")
            #expect(try node.record(of: pod)?.mode == .auto)
            // What is known of it later changes nothing, but for its own word.
            node.set(pod, labels: [:])
            pod.request.annotations = ["swerve.dev/mode": "nft"]
            node.set(pod, labels: [:])
            try await node.waitUntil(.nft, pod)
            pod.request.annotations = [:]
            node.set(pod, labels: [:])
            try await node.waitUntil(.auto, pod)
        }
    }

    @Test func `a pod of a file of the node's is known by its mirror`() async throws {
        try await ClusterNode.with { node in
            var pod = try ToldPod("a1", annotations: [:])
            let hash = String(repeating: "0c21", count: 8)
            pod.request.pod.uid = hash
            // Its mirror comes after it.
            #expect(try await node.add(pod).status == 200)
            try await node.waitUntil(.none, pod)
            node.api.setPod(
                "web-a1", in: "shop", uid: "5-1", labels: ClusterNode.sidecar,
                annotations: ["kubernetes.io/config.hash": hash])
            try await node.waitUntil(.auto, pod)
        }
    }

    @Test func `numbers tell how it goes`() async throws {
        try await ClusterNode.with { node in
            let pod = try ToldPod("a1", annotations: [:])
            node.set(pod)
            try await node.waitUntilKnown(pods: 1)
            node.api.fail("pods", .garbage)
            try await waitUntil {
                try await node.agent.ask("GET", "/metrics").text
                    .contains("swerve_kubernetes_lists_total{resource=\"pods\"} 2\n")
            }
            let text = try await node.agent.ask("GET", "/metrics").text
            #expect(text.contains("swerve_kubernetes_failures_total{resource=\"pods\"} 1\n"))
            #expect(text.contains("swerve_kubernetes_events_total{outcome=\"sent\"} 0\n"))
        }
    }
}
