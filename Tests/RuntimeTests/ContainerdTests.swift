// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import Foundation
import KernelTestSupport
import KubernetesTestSupport
import LinuxKernel
import OrderedJSON
import RedirectionModel
import Testing

/// A containerd that starts pods over the CRI, as kubelet has it do.
@Suite(.requiresKernel, .serialized, .timeLimit(.minutes(5))) struct ContainerdTests {
    @Test func `a pod with an Envoy comes up redirected, serves, changes and goes`() async {
        await #expect(processExitsWith: .success) {
            try await RuntimeNode.with { node in
                let containerd = try await Containerd(node)
                try await node.withAgent {
                    let pod = try await ServingPod.start(
                        RuntimePod(name: "web", annotations: ["swerve.dev/mode": "auto"]),
                        containerd)
                    let id = pod.running.id
                    try await pod.expectServes()
                    for mode in ["nft", "legacy", "ebpf"] {
                        let patch = try node.ask(
                            "PATCH", "/v1/pods/\(id)", #"{"mode": "\#(mode)"}"#)
                        #expect(patch.status == 200, "\(patch.text)")
                        try await pod.expectServes()
                    }
                    try pod.running.end()
                    #expect(try node.workloads().isEmpty)
                    #expect(try node.remains().isEmpty)
                    Self.expectCalls(node, pod.running.sandbox)
                }
            }
        }
    }

    @Test func `a pod that serves follows what the cluster says of it`() async {
        await #expect(processExitsWith: .success) {
            try await RuntimeNode.with { node in
                let containerd = try await Containerd(node)
                let authority = try TestAuthority()
                let api = try await TestAPIServer.start(authority)
                api.setNamespace("shop")
                let web = RuntimePod(name: "web")
                func annotate(_ annotations: [String: String]) {
                    api.setPod(web.name, in: "shop", uid: web.uid, annotations: annotations)
                }
                annotate(["swerve.dev/mode": "nft"])
                try await node.withAgent(authority.options(to: api), inNetwork: false) {
                    let pod = try await ServingPod.start(web, containerd)
                    try await pod.expectServes()
                    for mode in ["legacy", "ebpf"] {
                        try await node.follow { annotate(["swerve.dev/mode": mode]) }
                        #expect(try node.workloads()[0]["mechanism"] == .string(mode))
                        try await pod.expectServes()
                    }
                    for (port, byEnvoy) in [("8080", false), ("8081", true)] {
                        try await node.follow {
                            annotate([
                                "swerve.dev/mode": "auto",
                                "swerve.dev/exclude-inbound-ports": port,
                            ])
                        }
                        try await pod.expectServes(inboundByEnvoy: byEnvoy)
                    }
                    try pod.running.end()
                    #expect(try node.workloads().isEmpty)
                    #expect(try node.remains().isEmpty)
                }
                await api.stop()
            }
        }
    }

    @Test func `a pod that started while the network did not call us is redirected as it runs`()
        async
    {
        await #expect(processExitsWith: .success) {
            try await RuntimeNode.with { node in
                // A boot: the cluster's network has written its own file, pods come before the agent.
                try node.writeChain(withEntry: false)
                let containerd = try await Containerd(node)
                let authority = try TestAuthority()
                let api = try await TestAPIServer.start(authority)
                api.setNamespace("shop")
                let (early, plain) = (RuntimePod(name: "early"), RuntimePod(name: "plain"))
                let pod = try await ServingPod.start(early, containerd)
                let other = try plain.start(containerd)
                try await pod.expectAnswers(byEnvoy: false)
                api.setPod(
                    early.name, in: "shop", uid: early.uid,
                    annotations: ["swerve.dev/mode": "auto"])
                api.setPod(plain.name, in: "shop", uid: plain.uid)
                let network = ["--cni-conf-dir", "\(node.directory)/net.d"]
                try await node.withAgent(network + authority.options(to: api), inNetwork: false) {
                    try await waitUntil {
                        node.read("agent.log").contains("early was started without us")
                    }
                    try await pod.expectServes()
                    try await waitUntil {
                        api.events.contains { $0["reason"]?.text == "RedirectionLate" }
                    }
                    try other.ends().expect(redirected: false)
                    // The entry is back, and pods that come now are told of.
                    try await waitUntil { node.read(RuntimeNode.chain).contains("swerve-cni") }
                    #expect(!node.calls.contains { $0.hasPrefix("ADD ") })
                    // Its DEL finds it.
                    for running in [pod.running, other] { try running.end() }
                    #expect(node.calls.contains { $0.contains("id=\(pod.running.sandbox) ") })
                    #expect(try node.workloads().isEmpty)
                    #expect(try node.remains().isEmpty)
                }
                await api.stop()
            }
        }
    }

    /// What containerd says to a plugin: an ADD, and two DEL, the second of a namespace that is gone.
    private static func expectCalls(_ node: RuntimeNode, _ sandbox: String) {
        let calls = node.calls.filter { $0.contains("id=\(sandbox) ") }
        #expect(calls.count == 3, "\(calls)")
        #expect(calls[0].hasPrefix("ADD ") && calls[0].contains("netns=/"))
        #expect(calls[0].contains("K8S_POD_NAME=web") && calls[0].contains("K8S_POD_UID=0c21"))
        #expect(calls[1].hasPrefix("DEL ") && calls[1].contains("netns=/"))
        #expect(calls[2].hasPrefix("DEL ") && calls[2].contains("netns= "))
    }

    @Test func `ten pods come at once, and go at once`() async {
        await #expect(processExitsWith: .success) {
            try await RuntimeNode.with { node in
                let containerd = try await Containerd(node)
                try await node.withAgent {
                    let pods = (0..<10).map { number in
                        let mode = ["ebpf", "nft", "legacy"][number % 3]
                        return RuntimePod(
                            name: "web-\(number)", annotations: ["swerve.dev/mode": mode])
                    }
                    let answers = try containerd.call(
                        pods.map { ("RunPodSandbox", JSON(members: ["config": $0.config(node)])) })
                    #expect(answers.compactMap(\.error).isEmpty, "\(answers.map(\.error))")
                    let running = try zip(pods, answers).map { pod, answer in
                        try RunningPod(pod, answer.json, containerd)
                    }
                    for pod in running {
                        try pod.ends().expect(redirected: true)
                    }
                    for call in ["StopPodSandbox", "RemovePodSandbox"] {
                        let answers = try containerd.call(
                            running.map {
                                (call, JSON(members: ["pod_sandbox_id": .string($0.sandbox)]))
                            })
                        #expect(answers.compactMap(\.error).isEmpty, "\(answers.map(\.error))")
                    }
                    #expect(try node.workloads().isEmpty)
                    #expect(try node.remains().isEmpty)
                }
            }
        }
    }

    @Test func `a pod that cannot be redirected does not start, and leaves nothing`() async {
        await #expect(processExitsWith: .success) {
            try await RuntimeNode.with { node in
                let containerd = try await Containerd(node)
                let web = RuntimePod(name: "web", annotations: ["swerve.dev/mode": "nft"])
                let down = try Self.refused(web, containerd)
                #expect(down.contains("the agent cannot be reached at \(node.socket)"))
                try await node.withAgent {
                    let slip = try Self.refused(
                        RuntimePod(name: "web", annotations: ["swerve.dev/mode": "ebfp"]),
                        containerd)
                    #expect(slip.contains("swerve.dev/mode (ebfp)"))
                    #expect(slip.contains("docs/policy.md"))
                    #expect(try node.workloads().isEmpty)
                    let pod = try web.start(containerd)
                    try pod.ends().expect(redirected: true)
                    try pod.end()
                    #expect(try node.remains().isEmpty)
                }
            }
        }
    }

    /// Why a pod does not start, in the words of the event that kubelet would make of it.
    private static func refused(_ pod: RuntimePod, _ containerd: Containerd) throws -> String {
        let node = containerd.node
        let answer = try containerd.call([
            ("RunPodSandbox", JSON(members: ["config": pod.config(node)]))
        ])
        #expect(answer[0].json["pod_sandbox_id"] == nil)
        // What the runtime keeps is no pod: it is not ready, and kubelet removes it.
        let list = try containerd.ask("ListPodSandbox", .object([]))["items"]?.elements ?? []
        for sandbox in list {
            #expect(sandbox["state"] == .string("SANDBOX_NOTREADY"), "\(sandbox)")
            try containerd.ask(
                "RemovePodSandbox", JSON(members: ["pod_sandbox_id": sandbox["id"]]))
        }
        #expect(try node.remains().isEmpty)
        return try #require(answer[0].error)
    }
}

extension RunningPod {
    /// The pod's network and the node's, to see who accepts what.
    func ends() throws -> TestPod {
        TestPod(
            id, try namespace(), address, beside: containerd.node.namespace,
            try #require(IPAddress(RuntimeNode.gateway)))
    }
}
