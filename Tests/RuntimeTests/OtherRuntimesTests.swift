// SPDX-License-Identifier: Apache-2.0

import AgentTestSupport
import Foundation
import KernelTestSupport
import LinuxKernel
import OrderedJSON
import RedirectionModel
import Testing

/// Runtimes that tell a plugin less than containerd does: podman by its CNI backend, and `ctr`.
@Suite(.requiresKernel, .serialized, .timeLimit(.minutes(5))) struct OtherRuntimesTests {
    /// A node whose policy redirects every pod, for these runtimes pass no annotations.
    private static func onNode(_ body: (RuntimeNode) async throws -> Void) async throws {
        try await RuntimeNode.with { node in
            try node.write("policy.yaml", "apiVersion: swerve.dev/v1\nkind: Policy\nmode: nft\n")
            try await node.withAgent(["--policy", node.directory + "/policy.yaml"]) {
                try await body(node)
            }
        }
    }

    @Test func `ctr, which says neither who the pod is nor where it was`() async {
        await #expect(processExitsWith: .success) {
            try await Self.onNode { node in
                let containerd = try await Containerd(node)
                let run = try containerd.ctr(
                    "run", "--detach", "--cni", "--snapshotter", "native", "--cgroup",
                    "/\(node.cgroupName)/pods/c1", RuntimeNode.image, "c1")
                try #require(run.status == 0, "\(run.output)")
                try Self.expectRedirected(node)
                let tasks = try containerd.ctr("tasks", "kill", "--signal", "KILL", "c1")
                #expect(tasks.status == 0, "\(tasks.output)")
                try await waitUntil { try containerd.ctr("tasks", "delete", "c1").status == 0 }
                let remove = try containerd.ctr("containers", "delete", "c1")
                #expect(remove.status == 0, "\(remove.output)")
                // Nobody says DEL: the agent sees for itself that the pod is gone.
                try await waitUntil { try node.workloads().isEmpty }
                #expect(node.calls.contains { $0.hasPrefix("ADD id=default-c1 netns=/proc/") })
                #expect(node.calls.allSatisfy { $0.hasSuffix(" args=") }, "\(node.calls)")
            }
        }
    }

    @Test func `ctr that waits for its container deletes a namespace that is gone`() async {
        await #expect(processExitsWith: .success) {
            try await Self.onNode { node in
                let containerd = try await Containerd(node)
                let run = try containerd.ctr(
                    "run", "--rm", "--cni", "--snapshotter", "native", "--cgroup",
                    "/\(node.cgroupName)/pods/c1", RuntimeNode.image, "c1", "/bin/sh", "-c",
                    "exit 0")
                #expect(run.status == 0, "\(run.output)")
                #expect(node.calls.count == 2, "\(node.calls)")
                #expect(
                    node.calls.last?.hasPrefix("DEL id=default-c1 netns= ") == true, "\(node.calls)"
                )
                #expect(try node.workloads().isEmpty)
            }
        }
    }

    @Test func `podman, which asks for versions first and knows a name`() async {
        await #expect(processExitsWith: .success) {
            try await Self.onNode { node in
                let podman = try Podman(node)
                let run = try podman.run(
                    "run", "--detach", "--network", "pods", "--name", "web", "--cgroups",
                    "no-conmon", "--ulimit", "nofile=512:512", "--ulimit", "nproc=512:512",
                    "--cgroup-parent", "/\(node.cgroupName)/pods",
                    RuntimeNode.image)
                try #require(run.status == 0, "\(run.output)")
                try Self.expectRedirected(node)
                #expect(try node.workloads()[0]["labels"]?["name"] == .string("web"))
                let remove = try podman.run("rm", "--force", "--time", "0", "web")
                #expect(remove.status == 0, "\(remove.output)")
                #expect(try node.workloads().isEmpty)
                #expect(node.calls.first?.hasPrefix("VERSION id= netns=dummy ") == true)
                let named = node.calls.filter { $0.contains("K8S_POD_NAME=web") }
                #expect(named.map { $0.prefix(4) } == ["ADD ", "DEL "], "\(node.calls)")
                #expect(try node.remains().isEmpty)
            }
        }
    }

    /// Checks that the one pod of the node is redirected.
    private static func expectRedirected(_ node: RuntimeNode) throws {
        let workloads = try node.workloads()
        try #require(workloads.count == 1)
        let path = try #require(workloads[0]["namespace"]?.text)
        let namespace = try node.open(path)
        let address = try #require(
            try namespace.addresses().first { $0.family == .ipv4 && !$0.isLoopback })
        let gateway = try #require(IPAddress(RuntimeNode.gateway))
        try TestPod("pod", namespace, address, beside: node.namespace, gateway)
            .expect(redirected: true)
    }
}

/// A podman with everything of its own on the node.
private struct Podman {
    let node: RuntimeNode

    init(_ node: RuntimeNode) throws {
        self.node = node
        try node.write(
            "containers.conf",
            """
            [containers]
            apparmor_profile = "unconfined"
            [engine]
            cgroup_manager = "cgroupfs"
            events_logger = "none"
            runtime = "runc"
            [network]
            network_backend = "cni"
            cni_plugin_dirs = ["\(node.directory)/bin"]
            network_config_dir = "\(node.directory)/net.d"
            """)
        try node.makeImage()
        let load = try run("load", "--input", node.directory + "/image.tar")
        try #require(load.status == 0, "\(load.output)")
    }

    func run(_ words: String...) throws -> StockTool.Result {
        let place = node.directory + "/podman"
        return try node.run(
            [
                "podman", "--root", place, "--runroot", place + ".run", "--tmpdir",
                place + ".tmp", "--storage-driver", "vfs",
            ] + words, ["CONTAINERS_CONF": node.directory + "/containers.conf", "HOME": place])
    }
}
