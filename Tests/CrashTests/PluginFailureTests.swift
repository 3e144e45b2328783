// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import KernelTestSupport
import LinuxKernel
import OrderedJSON
import RedirectionModel
import Testing

/// A pod that should be redirected and cannot be does not start, and is told why; the retry works.
@Suite(.requiresKernel, .serialized, .timeLimit(.minutes(4))) struct PluginFailureTests {
    private static let nft = ["swerve.dev/mode": "nft"]

    @Test func `an agent that is down, and comes`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with { node in
                let plugins = try PluginNode(node)
                let pod = node.pod
                let error = try plugins.run("ADD", pod, Self.nft).error()
                #expect(error.code == 11)
                #expect(error.details.contains("start swerved"))
                #expect(try plugins.run("STATUS", pod).error().code == 50)
                try await plugins.withAgent { _ in
                    #expect(try plugins.run("ADD", pod, Self.nft).status == 0)
                    try pod.expect(redirected: true)
                }
                // Its end changes nothing, and a DEL does not wait for the next one.
                try pod.expect(redirected: true)
                #expect(try plugins.run("DEL", pod).status == 0)
                try await plugins.withAgent { _ in
                    try pod.expect(redirected: true)
                    #expect(try plugins.run("DEL", pod).status == 0)
                    try pod.expect(redirected: false)
                }
            }
        }
    }

    @Test func `an agent that does not come to an end in time`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with { node in
                let plugins = try PluginNode(node)
                let pod = node.pod
                try await plugins.withAgent(["--period", "3600"]) { _ in
                    do {
                        // Somebody else is changing workloads.
                        let lock = try await FileLock.take(
                            node.state + "/lock", within: .seconds(30))
                        let impatient: KeyValuePairs<String, JSON?> = ["timeoutSeconds": JSON(1)]
                        let error = try plugins.run("ADD", pod, Self.nft, impatient).error()
                        #expect(error.code == 11)
                        #expect(error.message.contains("has not answered in 1 s"))
                        try pod.expect(redirected: false)
                        withExtendedLifetime(lock) {}
                    }
                    #expect(try plugins.run("DEL", pod).status == 0)
                    #expect(try plugins.run("ADD", pod, Self.nft).status == 0)
                    try pod.expect(redirected: true)
                    #expect(try plugins.run("DEL", pod).status == 0)
                }
            }
        }
    }

    @Test func `what cannot be done is refused with field, value and what to do`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with { node in
                let plugins = try PluginNode(node)
                let pod = node.pod
                try await plugins.withAgent { _ in
                    let slip = try plugins.run("ADD", pod, ["swerve.dev/mode": "ebfp"]).error()
                    #expect(slip.code == 100)
                    #expect(slip.message.contains("swerve.dev/mode (ebfp)"))
                    #expect(slip.details.contains("docs/policy.md"))
                    let interfaces = [
                        "swerve.dev/mode": "ebpf", "swerve.dev/exclude-outbound-interfaces": "net1",
                    ]
                    let refused = try plugins.run("ADD", pod, interfaces).error()
                    #expect(refused.code == 100)
                    #expect(refused.message.contains("interface exclusion"))
                    #expect(refused.details.contains("mode auto"))
                    let gone = try plugins.plugin("ADD", pod).with("CNI_NETNS", "/run/netns/gone")
                    let nowhere = try gone.run(plugins.input(pod, Self.nft)).error()
                    #expect(nowhere.code == 100)
                    #expect(nowhere.message.contains("/run/netns/gone"))
                    let own = try plugins.plugin("ADD", pod).with("CNI_NETNS", "/proc/self/ns/net")
                    let machine = try own.run(plugins.input(pod, Self.nft)).error()
                    #expect(machine.message.contains("network namespace of the machine"))
                    // Nothing of all that is left, and none of it is in the way.
                    #expect(try plugins.ask("GET", "/v1/pods").text.contains(#""workloads":[]"#))
                    try pod.expect(redirected: false)
                    #expect(try plugins.run("ADD", pod, Self.nft).status == 0)
                    #expect(try plugins.run("DEL", pod).status == 0)
                }
            }
        }
    }

    @Test func `failurePolicy open starts the pod, is counted, and the agent takes it in`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with { node in
                let plugins = try PluginNode(node)
                let (pod, wrong) = (node.pod, try TestPod.create("wrong", number: 1))
                let open: KeyValuePairs<String, JSON?> = ["failurePolicy": .string("open")]
                // The directory is the agent's.
                try await plugins.withAgent { _ in }
                let add = try plugins.run("ADD", pod, Self.nft, open)
                #expect(add.status == 0 && add.log.count == 1, "\(add.output)")
                let slip = ["swerve.dev/mode": "ebfp"]
                #expect(try plugins.run("ADD", wrong, container: "w", slip, open).status == 0)
                // Who is gone before the agent comes is counted all the same.
                #expect(try plugins.run("ADD", wrong, container: "x", slip, open).status == 0)
                #expect(try plugins.run("DEL", wrong, container: "x", [:], open).status == 0)
                try pod.expect(redirected: false)
                try await plugins.withAgent { agent in
                    #expect(try agent.line(containing: "is taken in now") != nil)
                    try pod.expect(redirected: true)
                    #expect(try agent.line(containing: "runs WITHOUT redirection") != nil)
                    #expect(try plugins.metric("swerve_failed_open_total") == 3)
                    #expect(try plugins.metric("swerve_failed_open_pods") == 1)
                    #expect(try plugins.run("DEL", pod, [:], open).status == 0)
                    #expect(try plugins.run("DEL", wrong, container: "w", [:], open).status == 0)
                    for _ in 0..<3000 where try plugins.metric("swerve_failed_open_pods") != 0 {
                        try await Task.sleep(for: .milliseconds(20))
                    }
                    #expect(try plugins.metric("swerve_failed_open_pods") == 0)
                    #expect(try plugins.metric("swerve_failed_open_total") == 3)
                }
            }
        }
    }

    @Test func `a disk that is full, and has room again`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with { node in
                let plugins = try PluginNode(node)
                let pod = node.pod
                // The state directory is one that can be filled.
                let mount = try StockTool.run(
                    "mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", node.state, in: .current())
                #expect(mount.status == 0, "\(mount.output)")
                try await plugins.withAgent(["--period", "3600"]) { _ in
                    let filler = node.state + "/filler"
                    _ = try StockTool.run(
                        "dd", "if=/dev/zero", "of=\(filler)", "bs=4k", in: .current())
                    let error = try plugins.run("ADD", pod, Self.nft).error()
                    #expect(error.code == 11)
                    #expect(error.message.contains("No space left"))
                    #expect(error.details.contains("free some space"))
                    try pod.expect(redirected: false)
                    try Directory(path: node.state).remove("filler")
                    #expect(try plugins.run("ADD", pod, Self.nft).status == 0)
                    try pod.expect(redirected: true)
                    #expect(try plugins.run("DEL", pod).status == 0)
                }
                let unmount = try StockTool.run("umount", node.state, in: .current())
                #expect(unmount.status == 0, "\(unmount.output)")
            }
        }
    }

    @Test func `a node without bpffs`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with { node in
                let plugins = try PluginNode(node)
                let pod = node.pod
                let pins = node.directory + "/no-bpffs/swerve"
                try await plugins.withAgent(["--pins", pins]) { _ in
                    let error = try plugins.run("ADD", pod, ["swerve.dev/mode": "ebpf"]).error()
                    #expect(error.message.contains("bpf filesystem"), "\(error)")
                    #expect(error.message.contains(pins), "\(error)")
                    try pod.expect(redirected: false)
                    // What was asked for is not replaced; the best that can be had is another.
                    for mode in ["nft", "auto"] {
                        let add = try plugins.run("ADD", pod, ["swerve.dev/mode": mode])
                        #expect(add.status == 0, "\(mode): \(add.output)")
                        try pod.expect(redirected: true)
                        #expect(
                            try plugins.ask("GET", "/v1/pods").text.contains("bpf filesystem")
                                == (mode == "auto"))
                        #expect(try plugins.run("DEL", pod).status == 0)
                        try pod.expect(redirected: false)
                    }
                }
            }
        }
    }
}
