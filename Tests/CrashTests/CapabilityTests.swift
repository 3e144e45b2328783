// SPDX-License-Identifier: Apache-2.0

import AgentTestSupport
import Foundation
import HelmChart
import KernelTestSupport
import LinuxKernel
import OrderedJSON
import RedirectionEngine
import RedirectionModel
import Testing

/// The agent as the chart's pods have it: the capabilities it says, and a sysfs and sysctls that
/// cannot be written.
@Suite(.requiresKernel, .serialized, .timeLimit(.minutes(4))) struct CapabilityTests {
    /// What the chart adds to nothing, such as `net_admin`.
    static func capabilities() throws -> [String] {
        let manifests = try Chart().manifests().flatMap { $0.split(separator: "\n") }
        let lists = manifests.filter { $0.contains("add: [") && $0.contains("SYS_ADMIN") }
        let list = try #require(lists.first?.split(separator: "[").last?.dropLast())
        // The unit's are the same.
        let unit = list.split(separator: ", ").map { "CAP_" + $0 }.joined(separator: " ")
        #expect(DeployFile.unit.text.contains("\nCapabilityBoundingSet=\(unit)\n"))
        return list.split(separator: ", ").map { $0.lowercased() }
    }

    /// Becomes what a runtime makes of a container with these capabilities: its own cgroup is the
    /// root it sees, and read-only; the node's hierarchy is at `cgroups`.
    static func container(
        _ capabilities: [String], own: Cgroup, cgroups: String
    ) throws -> [String] {
        let script = """
            set -e
            umount -l /sys/fs/bpf 2>/dev/null || true
            mount --rbind "$1" "$2"
            mount --bind "$3" "$1"
            mount -o remount,bind,ro "$1"
            shift 3
            for tree in /proc/sys /sys; do
              mount --rbind $tree $tree
              mount -o remount,bind,ro $tree
            done
            exec "$@"
            """
        let set = capabilities.map { ",+" + $0 }.joined()
        return [
            "unshare", "--mount", "--cgroup", "--propagation", "slave", "sh", "-c", script,
            "container", try Cgroup.root().path, cgroups, own.path,
            "setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all" + set,
        ]
    }

    /// An agent in such a container.
    private static func agent(
        _ plugins: PluginNode, _ options: [String] = []
    ) throws -> RunningProgram {
        let cgroups = plugins.node.directory + "/cgroup"
        try FileManager.default.createDirectory(
            atPath: cgroups, withIntermediateDirectories: false)
        let below = plugins.node.cgroup.path.dropFirst(try Cgroup.root().path.utf8.count)
        return try plugins.agent(
            ["--cgroup-root", "\(cgroups)\(below)"] + options,
            through: container(
                capabilities(), own: plugins.node.cgroup, cgroups: cgroups))
    }

    @Test func `a container without the node's bpffs mounts none that would go with it`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with { node in
                let plugins = try PluginNode(node)
                let agent = try Self.agent(plugins, ["--pins", "/sys/fs/bpf/swerve-test"])
                let refused = try plugins.run("ADD", node.pod, ["swerve.dev/mode": "ebpf"])
                #expect(refused.status != 0)
                #expect(refused.output.contains("mount one on the machine"), "\(refused.output)")
                let rules = try plugins.run("ADD", node.pod, ["swerve.dev/mode": "auto"])
                #expect(rules.status == 0, "\(rules.output)")
                try node.pod.expect(redirected: true)
                #expect(try plugins.run("DEL", node.pod).status == 0)
                try agent.terminate()
                #expect(try agent.finish() == 0)
            }
        }
    }

    @Test(arguments: ["ebpf", "nft", "legacy"])
    func `pods are redirected, checked, switched and left with the chart's capabilities`(
        _ mode: String
    ) async {
        await #expect(processExitsWith: .success) { [mode] in
            try await EngineNode.with { node in
                let plugins = try PluginNode(node)
                let pod = node.pod
                let agent = try Self.agent(plugins)
                for wish in [mode, mode == "nft" ? "ebpf" : "nft", mode] {
                    let mode = ["swerve.dev/mode": wish]
                    let add = try plugins.run("ADD", pod, mode)
                    #expect(add.status == 0, "\(add.output)")
                    try pod.expect(redirected: true)
                    let check = try plugins.run("CHECK", pod, mode)
                    #expect(check.status == 0, "\(check.output)")
                    let pods = try plugins.ask("GET", "/v1/pods").text
                    #expect(pods.contains(#""mechanism":"\#(wish)""#), "\(pods)")
                }
                #expect(try plugins.run("DEL", pod).status == 0)
                try pod.expect(redirected: false)
                try agent.terminate()
                #expect(try agent.finish() == 0)
            }
        }
    }
}
