// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import CNIPlugin
import KernelTestSupport
import LinuxKernel
import OrderedJSON
import Testing

#if canImport(Glibc)
import Glibc
#endif

/// The plugins of the CNI project, as distributions ship them, with ours after them.
@Suite(.requiresKernel, .timeLimit(.minutes(2))) struct ChainTests {
    /// Where Debian and Ubuntu have them.
    private static let home = "/usr/lib/cni/"

    /// A node and a pod that is nobody else's.
    private struct Node {
        let network: TestNetwork
        let node: NetworkNamespace
        let pod: NetworkNamespace

        init() throws {
            network = try TestNetwork()
            node = try NetworkNamespace.create()
            pod = try NetworkNamespace.create()
        }

        func run(_ command: String, _ type: String, _ config: JSON) throws -> PluginProcess.Answer {
            var process = PluginProcess(command)
            if type != "swerve-cni" { process.program = home + type }
            process.namespace = node
            process.variables["CNI_PATH"] = home
            process.variables["CNI_NETNS"] =
                "/proc/\(getpid())/fd/\(pod.rawDescriptor)"
            return try process.run(config)
        }

        /// The chain, entry by entry, without what a runtime adds.
        func entries(_ version: CNIVersion) throws -> [(String, JSON)] {
            let bridge = try JSON(
                parsing: """
                    {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipam": {
                      "type": "host-local", "dataDir": "\(network.directory)/ipam", "ranges": [
                        [{"subnet": "10.99.1.0/24"}], [{"subnet": "fd00:99::/64"}]],
                      "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}
                    """)
            let portmap = try JSON(
                parsing: """
                    {"type": "portmap", "capabilities": {"portMappings": true}, "runtimeConfig": {
                      "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}}
                    """)
            let ours = JSON(members: [
                "type": .string("swerve-cni"), "agentSocket": .string(network.socket),
            ])
            return [("bridge", bridge), ("portmap", portmap), ("swerve-cni", ours)].map {
                let named = $1.setting("name", to: .string("shop-network"))
                return ($0, named.setting("cniVersion", to: .string(version.rawValue)))
            }
        }
    }

    @Test(arguments: [CNIVersion.v0_3_0, .v0_3_1, .v0_4_0, .v1_0_0])
    func `bridge, portmap and ours: the result is theirs, and all goes again`(
        version: CNIVersion
    ) throws {
        let node = try Node()
        let entries = try node.entries(version)
        try FakeAgent.with(node.network.socket, { _ in .redirected }) { agent in
            var results: [JSON] = []
            for (type, config) in entries {
                let answer = try node.run(
                    "ADD", type, config.setting("prevResult", to: results.last))
                try #require(answer.status == 0, "\(type): \(answer.output)")
                results.append(try answer.json())
            }
            #expect(results[2].unordered == results[1].unordered)
            let request = try PodRequest(try #require(agent.requests.first).body)
            #expect(request.addresses == ["10.99.1.2/24", "fd00:99::2/64"])
            // Debian 12's portmap looks for its IPv4 rules in ip6tables, too.
            for (type, config) in entries where version >= .v0_4_0 && type != "portmap" {
                let answer = try node.run(
                    "CHECK", type, config.setting("prevResult", to: results[2]))
                #expect(answer.status == 0, "\(type): \(answer.output)")
            }
            for (type, config) in entries.reversed() {
                let answer = try node.run(
                    "DEL", type, config.setting("prevResult", to: results[2]))
                #expect(answer.status == 0, "\(type): \(answer.output)")
            }
            #expect(agent.requests.last?.call == .delete)
        }
    }

    @Test func `a failing ADD of ours is followed by a DEL of the whole chain`() throws {
        let node = try Node()
        let entries = try node.entries(.v1_0_0)
        let added = try node.run("ADD", "bridge", entries[0].1)
        let result = try added.json()
        let ours = try node.run(
            "ADD", "swerve-cni", entries[2].1.setting("prevResult", to: result))
        #expect(try ours.error().code == 11)
        for (type, config) in entries.reversed() {
            #expect(try node.run("DEL", type, config).status == 0, "\(type)")
        }
        let links = try StockTool.run("ip", "-o", "link", in: node.pod).output
        #expect(links.split(separator: "\n").count == 1, "only loopback: \(links)")
    }
}
