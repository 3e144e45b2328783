// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import Foundation
import KernelTestSupport
import KubernetesTestSupport
import LinuxKernel
import OrderedJSON
import RedirectionEngine
import RedirectionModel
import Testing

@testable import NodeAgent

/// Pods of a cluster's node that its network has started without us.
@Suite(.requiresKernel, .timeLimit(.minutes(3))) struct MissedPodTests {
    /// What a runtime's CNI library remembers, in a directory of the test's own, and namespaces by name.
    private struct Memory {
        let root = Directory(path: "/tmp/swerve-cni-\(UInt32.random(in: 0 ... .max))")
        var directory: Directory { root.child("results") }

        func write(_ name: String, _ text: String) throws {
            try Data(text.utf8).write(to: URL(filePath: directory.path + "/" + name))
        }

        static func name(of pod: ToldPod) -> String {
            "net-\(pod.request.attachment.container)-\(pod.request.attachment.interface)"
        }

        /// Writes down an ADD by these plugins.
        func note(
            _ pod: ToldPod, plugins: [String] = ["bridge", "portmap"],
            _ change: (JSON) -> JSON = { $0 }
        ) throws {
            let file = try MissedPodTests.file(pod, plugins).setting(
                "netns", to: .string(name(of: pod)))
            try write(Self.name(of: pod), change(file).rendered())
        }

        /// An attachment whose pod asks by itself.
        static func asking(_ mode: String, _ file: JSON) -> JSON {
            let word = JSON(members: ["swerve.dev/mode": .string(mode)])
            return file.setting(
                "capabilityArgs", to: JSON(members: ["io.kubernetes.cri.pod-annotations": word]))
        }

        /// Waits until the agent has looked at everything that is here now: what comes later is found,
        /// twice.
        func rest(_ node: ClusterNode) async throws {
            for container in ["zrest1", "zrest2"] {
                let marker = try ToldPod(container, annotations: nil)
                try note(marker) { Self.asking("nft", $0) }
                try await node.waitUntil(.nft, marker)
                let reply = try await node.agent.ask("POST", "/v1/cni/delete", marker.body)
                #expect(reply.status == 200)
                try directory.remove(Self.name(of: marker))
            }
        }

        /// A name for the pod's namespace.
        private func name(of pod: ToldPod) throws -> String {
            let path = "\(root.path)/\(pod.request.attachment.container)"
            try? FileManager.default.createSymbolicLink(
                atPath: path, withDestinationPath: #require(pod.request.namespacePath))
            return path
        }
    }

    /// An attachment as libcni 1.2 writes it down.
    private static func file(_ pod: ToldPod, _ plugins: [String]) -> JSON {
        let request = pod.request
        let list = JSON(members: [
            "cniVersion": .string("1.0.0"), "name": .string(request.network),
            "plugins": .array(plugins.map { JSON(members: ["type": .string($0)]) }),
        ])
        func pair(_ name: String, _ value: String?) -> JSON {
            .array([.string(name), .string(value ?? "")])
        }
        return JSON(members: [
            "kind": .string("cniCacheV1"),
            "containerId": .string(request.attachment.container),
            "config": .string(Data(list.rendered().utf8).base64EncodedString()),
            "ifName": .string(request.attachment.interface),
            "networkName": .string(request.network),
            "netns": request.namespacePath.map(JSON.string),
            "cniArgs": .array([
                pair("IgnoreUnknown", "1"), pair("K8S_POD_NAMESPACE", request.pod.namespace),
                pair("K8S_POD_NAME", request.pod.name), pair("K8S_POD_UID", request.pod.uid),
            ]),
            "result": JSON(members: ["cniVersion": .string("1.0.0")]),
        ])
    }

    private static func onNode(
        refusing: Set<Mechanism> = [], cgroups: Cgroup? = nil,
        _ body: (ClusterNode, Memory) async throws -> Void
    ) async throws {
        let memory = Memory()
        try memory.directory.create()
        defer { try? FileManager.default.removeItem(atPath: memory.root.path) }
        try await ClusterNode.with(
            refusing: refusing, period: .milliseconds(50), attachments: memory.directory,
            cgroups: cgroups
        ) { try await body($0, memory) }
    }

    private func event(_ reason: String, of node: ClusterNode) -> JSON? {
        node.api.events.first { $0["reason"]?.text == reason }
    }

    @Test func `the mesh's pods that the network added without us are redirected, and told of`()
        async throws
    {
        let (member, other) = (
            try ToldPod("a1", annotations: [:]), try ToldPod("b2", annotations: [:])
        )
        try await Self.onNode { node, memory in
            for pod in [member, other] { try memory.note(pod) }
            node.set(other, labels: [:])
            node.set(member)
            try await node.waitUntil(.auto, member)
            #expect(node.agent.kernel.holders(of: member.id) == [.ebpf])
            try await waitUntil { event("RedirectionLate", of: node) != nil }
            let told = try #require(event("RedirectionLate", of: node))
            #expect(told["involvedObject"]?["name"]?.text == "web-a1")
            #expect(told["message"]?.text?.contains("redirected by ebpf from now on") == true)
            try await waitUntil { try await node.measures("swerve_missed_pods 0\n") }
            #expect(try await node.measures("swerve_missed_total 1\n"))
            #expect(try node.record(of: member)?.labels?["late"] == "true")
            // It follows the cluster like any other, and so does who comes to the mesh late.
            var marked = member
            marked.request.annotations = ["swerve.dev/mode": "nft"]
            node.set(marked)
            try await node.waitUntil(.nft, marked)
            #expect(try node.record(of: other) == nil)
            node.set(other)
            try await node.waitUntil(.auto, other)
        }
    }

    @Test func `who was told of, has other networks, or is no pod of this node's is left alone`()
        async throws
    {
        let told = try ToldPod("a1", annotations: [:])
        let (stranger, later, reused) = (
            try ToldPod("b2", annotations: [:]), try ToldPod("c3", annotations: [:]),
            try ToldPod("d4", annotations: [:])
        )
        let (renamed, last) = (
            try ToldPod("e5", annotations: [:]), try ToldPod("z9", annotations: [:])
        )
        // Somebody has it redirected under another name.
        var alias = try ToldPod("f6")
        alias.request.namespacePath = renamed.request.namespacePath
        try await Self.onNode { node, memory in
            try memory.note(told, plugins: ["bridge", "swerve-cni"])
            try memory.note(stranger)
            try memory.note(later) { $0.setting("ifName", to: .string("net1")) }
            // Whose number that is by now, nobody knows.
            try memory.note(reused) {
                $0.setting("netns", to: reused.request.namespacePath.map(JSON.string))
            }
            try memory.note(renamed)
            #expect(try await node.add(alias).status == 200)
            try memory.note(last)
            for pod in [told, later, reused, renamed, last] { node.set(pod) }
            // The API server knows one of that name, and it is another.
            node.api.setPod("web-b2", in: "shop", uid: "0c22", labels: ClusterNode.sidecar)
            try await node.waitUntil(.auto, last)
            for pod in [told, stranger, later, reused, renamed] {
                #expect(try node.record(of: pod) == nil, "\(pod.id)")
            }
            #expect(try await node.measures("swerve_missed_total 1\n"))
        }
    }

    @Test func `who has been on record is not brought back`() async throws {
        let (pod, marker) = (
            try ToldPod("a1", annotations: [:]), try ToldPod("b2", annotations: [:])
        )
        try await Self.onNode { node, memory in
            try memory.note(pod)
            node.set(pod)
            try await node.waitUntil(.auto, pod)
            // Our DEL comes first, the file goes when all plugins have had theirs.
            #expect(try await node.agent.ask("POST", "/v1/cni/delete", pod.body).status == 200)
            try memory.note(marker)
            node.set(marker)
            try await node.waitUntil(.auto, marker)
            #expect(try node.record(of: pod) == nil)
            #expect(node.agent.kernel.holders(of: pod.id).isEmpty)
        }
    }

    @Test func `files that nobody understands, and pods that are gone, are in nobody's way`()
        async throws
    {
        let (pod, gone) = (
            try ToldPod("a1", annotations: [:]), try ToldPod("b2", annotations: [:])
        )
        try await Self.onNode { node, memory in
            for (name, text) in [("net-x-eth0", "{"), ("net-y-eth0", "[]"), ("net-z-eth0", "")] {
                try memory.write(name, text)
            }
            try memory.note(gone) { $0.setting("netns", to: .string("/run/netns/swerve-gone")) }
            for pod in [pod, gone] { node.set(pod) }
            // As a library that is in the middle of writing leaves it.
            try memory.write(Memory.name(of: pod), #"{"kind": "cniCa"#)
            try Directory(path: memory.directory.path + "/net-w-eth0").create()
            try await memory.rest(node)
            try memory.note(pod)
            try await node.waitUntil(.auto, pod)
            #expect(try node.record(of: gone) == nil)
        }
    }

    @Test func `who cannot be redirected is counted, told of, and tried again`() async throws {
        let pod = try ToldPod("a1", annotations: ["swerve.dev/mode": "ebfp"])
        try await Self.onNode(refusing: [.ebpf]) { node, memory in
            try memory.note(pod)
            node.set(pod)
            try await waitUntil { try await node.measures("swerve_missed_pods 1\n") }
            try await waitUntil { event("RedirectionRefused", of: node) != nil }
            let told = try #require(event("RedirectionRefused", of: node))
            #expect(told["message"]?.text?.contains("ebfp") == true, "\(told)")
            #expect(try node.record(of: pod) == nil)
            var mended = pod
            mended.request.annotations = ["swerve.dev/mode": "nft"]
            node.set(mended)
            try await node.waitUntil(.nft, pod)
            try await waitUntil { try await node.measures("swerve_missed_pods 0\n") }
            #expect(try await node.measures("swerve_missed_total 1\n"))
        }
    }

    @Test func `who says its mode itself waits for nobody, and falls back like others`()
        async throws
    {
        let (pod, other) = (
            try ToldPod("a1", annotations: [:]), try ToldPod("b2", annotations: [:])
        )
        try await Self.onNode(refusing: [.ebpf]) { node, memory in
            // The API server has not told of either.
            try memory.note(pod) { Memory.asking("auto", $0) }
            try memory.note(other)
            try await node.waitUntil(.auto, pod)
            for reason in ["RedirectionFallback", "RedirectionLate"] {
                try await waitUntil { event(reason, of: node) != nil }
            }
            try await memory.rest(node)
            #expect(try node.record(of: other) == nil)
            #expect(try await node.measures("swerve_undecided_pods 1\n"))
        }
    }

    @Test(arguments: [
        "a1", "cri-containerd-a1.scope", "crio-a1.scope", "crio-a1", "crio-a1.scope/container",
    ])
    func `who is nowhere written down is found by the sandbox's cgroup`(
        _ name: String
    ) async throws {
        let root = try Cgroup.createUnique(prefix: "swerve-test")
        var paths = ["kubepods", "kubepods/pod0c21"]
        for part in name.split(separator: "/") {
            paths.append(paths.last.map { "\($0)/\(part)" } ?? "")
        }
        let own = paths.map(root.child)
        for cgroup in own { try cgroup.create() }
        defer { for cgroup in own.reversed() + [root] { try? cgroup.remove() } }
        let (pod, older) = (
            try ToldPod("a1", annotations: [:]), try ToldPod("b2", annotations: [:])
        )
        var birth = ChildProcess.Birth(["sleep", "300"])
        birth.cgroup = own.last
        birth.namespace = pod.namespace
        let pause = try LeashedProcess(birth)
        try await Self.onNode(cgroups: root) { node, memory in
            // An older library, and plugins whose result does not say it.
            for pod in [pod, older] { try memory.note(pod) { $0.setting("netns", to: nil) } }
            // Of the same pod, but of another sandbox: one of before the boot.
            for pod in [pod, older] { node.set(pod) }
            try await node.waitUntil(.auto, pod)
            let record = try #require(try node.record(of: pod))
            #expect(record.identity.namespaceInode == pod.namespace.inode)
            #expect(record.place.cgroup == own[1].path)
            #expect(try node.record(of: older) == nil)
        }
        try pause.stop()
    }

    @Test func `who lives and cannot be found is counted, and told of`() async throws {
        let root = try Cgroup.createUnique(prefix: "swerve-test")
        let own = ["kubepods", "kubepods/pod0c21", "kubepods/pod0c21/other"].map(root.child)
        for cgroup in own { try cgroup.create() }
        defer { for cgroup in own.reversed() + [root] { try? cgroup.remove() } }
        let pod = try ToldPod("a1", annotations: [:])
        var birth = ChildProcess.Birth(["sleep", "300"])
        birth.cgroup = own.last
        let application = try LeashedProcess(birth)
        try await Self.onNode(cgroups: root) { node, memory in
            try memory.note(pod) { $0.setting("netns", to: nil) }
            node.set(pod)
            try await waitUntil { try await node.measures("swerve_missed_pods 1\n") }
            try await waitUntil { event("RedirectionRefused", of: node) != nil }
            let told = try #require(event("RedirectionRefused", of: node))
            #expect(told["message"]?.text?.contains("is not found: no process in") == true)
        }
        try application.stop()
    }

    @Test func `a directory that cannot be read changes nothing`() async throws {
        let pod = try ToldPod("a1", annotations: [:])
        try await Self.onNode { node, memory in
            let (name, aside) = (memory.directory.path, memory.root.path + "/aside")
            let link = memory.root.path + "/link"
            try FileManager.default.moveItem(atPath: name, toPath: aside)
            for path in [name, link] {
                try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: aside)
            }
            try memory.note(pod)
            node.set(pod)
            try await node.waitUntil(.auto, pod)
            #expect(try await node.agent.ask("POST", "/v1/cni/delete", pod.body).status == 200)
            // For a while nobody can look, and then everything is as it was.
            try memory.root.replace("results", with: "")
            try await node.rest()
            #expect(try StockTool.run("mv", "-T", link, name, in: .current()).status == 0)
            try await memory.rest(node)
            #expect(try node.record(of: pod) == nil)
        }
    }

    @Test func `a sandbox is taken from the result where the library does not say it`() throws {
        let pod = try ToldPod("a1")
        let sandbox = JSON(members: [
            "name": .string("eth0"), "sandbox": .string("/var/run/netns/cni-1"),
        ])
        let host = JSON(members: ["name": .string("veth0")])
        let json = Self.file(pod, ["calico"]).setting("netns", to: nil).setting(
            "result", to: JSON(members: ["interfaces": .array([host, sandbox])]))
        let attachment = try CachedAttachment(json)
        #expect(attachment.pod.namespacePath == "/var/run/netns/cni-1")
        #expect(attachment.pod.pod == pod.request.pod)
        #expect(attachment.plugins == ["calico"])
        for (field, value) in [
            ("kind", JSON.string("cniCacheV2")), ("config", .string("%")), ("ifName", JSON(7)),
            ("containerId", .string("../x")), ("cniArgs", .string("K8S_POD_NAME=web")),
        ] {
            #expect(throws: FieldError.self, "\(field)") {
                try CachedAttachment(json.setting(field, to: value))
            }
        }
    }
}
