// SPDX-License-Identifier: Apache-2.0

import Foundation
import KernelTestSupport
import LinuxKernel
import OrderedJSON
import RedirectionModel
import Testing

/// A pod as kubelet asks for one.
struct RuntimePod {
    let name: String
    var annotations: [String: String] = [:]

    var uid: String { "0c21a0e8-" + name }

    /// The sandbox's configuration.
    func config(_ node: RuntimeNode) -> JSON {
        let passed = annotations.sorted { $0.key < $1.key }
        return JSON(members: [
            "metadata": JSON(members: [
                "name": .string(name), "namespace": .string("shop"),
                "uid": .string(uid),
            ]),
            "log_directory": .string("\(node.directory)/logs/\(name)"),
            "annotations": .object(passed.map { .init($0.key, .string($0.value)) }),
            "linux": JSON(members: [
                "cgroup_parent": .string("/\(node.cgroupName)/pods/\(name)")
            ]),
        ])
    }

    func start(_ containerd: Containerd) throws -> RunningPod {
        let answer = try containerd.ask(
            "RunPodSandbox", JSON(members: ["config": config(containerd.node)]))
        return try RunningPod(self, answer, containerd)
    }
}

extension RuntimeNode {
    /// As every hierarchy knows it.
    var cgroupName: String { String(cgroup.path.split(separator: "/").last ?? "") }
}

/// A pod that has been started.
struct RunningPod {
    let pod: RuntimePod
    let sandbox: String
    let address: IPAddress
    let containerd: Containerd

    init(_ pod: RuntimePod, _ answer: JSON, _ containerd: Containerd) throws {
        self.pod = pod
        self.containerd = containerd
        sandbox = try #require(answer["pod_sandbox_id"]?.text)
        let status = try containerd.ask(
            "PodSandboxStatus", JSON(members: ["pod_sandbox_id": .string(sandbox)]))
        let text = try #require(status["status"]?["network"]?["ip"]?.text)
        address = try #require(IPAddress(text))
    }

    /// What the agent calls it.
    var id: String { sandbox + "@eth0" }

    /// Starts a container; its root has the machine's programs.
    @discardableResult
    func run(
        _ name: String, _ command: [String], as uid: Int, mounts: [String: String] = [:]
    ) throws -> String {
        let mounts = [("/usr", "/usr")] + mounts.map { ($0.key, $0.value) }
        let container = JSON(members: [
            "metadata": JSON(members: ["name": .string(name)]),
            "image": JSON(members: ["image": .string(RuntimeNode.image)]),
            "command": .array(command.map(JSON.string)),
            "log_path": .string(name),
            "mounts": .array(
                mounts.map { place, path in
                    JSON(members: [
                        "container_path": .string(place), "host_path": .string(path),
                        "readonly": .bool(true),
                    ])
                }),
            "linux": JSON(members: [
                "security_context": JSON(members: [
                    "run_as_user": JSON(members: ["value": JSON(uid)]),
                    "run_as_group": JSON(members: ["value": JSON(uid)]),
                ])
            ]),
        ])
        let answer = try containerd.ask(
            "CreateContainer",
            JSON(members: [
                "pod_sandbox_id": .string(sandbox), "config": container,
                "sandbox_config": pod.config(containerd.node),
            ]))
        let id = try #require(answer["container_id"]?.text)
        try containerd.ask("StartContainer", JSON(members: ["container_id": .string(id)]))
        return id
    }

    /// What a container has said, without the runtime's own words.
    func log(_ container: String) -> [String] {
        containerd.node.read("logs/\(pod.name)/\(container)").split(separator: "\n").map {
            $0.split(separator: " ", maxSplits: 3).dropFirst(3).joined()
        }
    }

    /// Stops and removes it, as kubelet does: our plugin is told twice.
    func end() throws {
        let sandbox = JSON(members: ["pod_sandbox_id": .string(sandbox)])
        try containerd.ask("StopPodSandbox", sandbox)
        try containerd.ask("RemovePodSandbox", sandbox)
    }

    /// The pod's network.
    func namespace() throws -> NetworkNamespace {
        let status = try containerd.ask(
            "PodSandboxStatus",
            JSON(members: ["pod_sandbox_id": .string(sandbox), "verbose": .bool(true)]))
        let info = try JSON(parsing: #require(status["info"]?["info"]?.text))
        return try NetworkNamespace.open("/proc/\(try #require(info["pid"]?.integer))/ns/net")
    }
}
