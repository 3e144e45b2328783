// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import Foundation
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import Testing

@testable import NodeAgent

/// Where kubelet puts pods.
@Suite struct KubeletCgroupTests {
    @Test(arguments: [
        "kubepods/pod0c21-7", "kubepods/burstable/pod0c21-7", "kubepods/besteffort/pod0c21-7",
        "kubepods.slice/kubepods-pod0c21_7.slice",
        "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0c21_7.slice",
        "kubelet/kubepods/besteffort/pod0c21-7",
        "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod0c21_7.slice",
    ])
    func `a pod's cgroup is found by its uid`(_ path: String) throws {
        let root = "/tmp/swerve-kubelet-\(UInt32.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(
            atPath: "\(root)/\(path)", withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: root) }
        let cgroups = Cgroup(path: root)
        #expect(cgroups.ofPod("0c21-7")?.path == "\(root)/\(path)")
        for uid in ["0c21", "0c21-8", "", "../..", "0c21-7/x", nil] {
            #expect(cgroups.ofPod(uid) == nil, "\(uid ?? "none")")
        }
    }

    @Test(.requiresKernel, .timeLimit(.minutes(2)))
    func `a pod is added with the cgroup that kubelet has made for it`() async throws {
        let root = try Cgroup.createUnique(prefix: "swerve-test")
        let cgroups = [root.child("kubepods"), root.child("kubepods/pod0c21")]
        for cgroup in cgroups { try cgroup.create() }
        defer { for cgroup in [cgroups[1], cgroups[0], root] { try? cgroup.remove() } }
        try await TestAgent.with(cgroups: root) { agent in
            let pod = try ToldPod("a1")
            let reply = try await agent.ask("POST", "/v1/cni/add", pod.body)
            #expect(reply.status == 200, "\(reply)")
            #expect(try StateStore(agent.state).record(of: pod.id)?.place.cgroup == cgroups[1].path)
        }
    }
}
