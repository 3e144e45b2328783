// SPDX-License-Identifier: Apache-2.0

import AgentTestSupport
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

    /// Becomes what a runtime makes of a container with these capabilities.
    static func container(_ capabilities: [String]) -> [String] {
        let script = """
            set -e
            for tree in /proc/sys /sys; do
              mount --rbind $tree $tree
              mount -o remount,bind,ro $tree
            done
            exec "$@"
            """
        let set = capabilities.map { ",+" + $0 }.joined()
        return [
            "unshare", "--mount", "--propagation", "slave", "sh", "-c", script, "container",
            "setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all" + set,
        ]
    }

    @Test(arguments: ["ebpf", "nft", "legacy"])
    func `pods are redirected, checked, switched and left with the chart's capabilities`(
        _ mode: String
    ) async {
        await #expect(processExitsWith: .success) { [mode] in
            try await EngineNode.with { node in
                let plugins = try PluginNode(node)
                let pod = node.pod
                let agent = try plugins.agent(through: Self.container(Self.capabilities()))
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
