// SPDX-License-Identifier: Apache-2.0

import Foundation
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// Commands and agent of a node that uses nothing newer than Linux 5.4.
@Suite(.requiresKernel, .serialized) struct CeilingTests {
    @Test(.timeLimit(.minutes(3)))
    func `a workload is applied, looked after, switched and removed below a ceiling`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with(below: KernelVersion(5, 4)) { node in
                let before = try Leavings(of: node)
                try Self.apply(node)
                try Self.expectRedirection(node)
                let status = try Self.swerve(node, "status", "web")
                #expect(status.contains("mechanism  ebpf (asked for)"), "\(status)")
                #expect(
                    status.contains(
                        "manner     sockets known by the cgroup that programs are attached to, "
                            + "inbound by tc"), "\(status)")
                try Self.detach(from: node)
                let agent = try RunningProgram(
                    "swerved", node.options + ["--period", "0.1"], joiningErrors: true)
                // By recovery, or by the first look.
                #expect(try agent.line(containing: "web: ebpf") != nil)
                try await Self.waitForProgram(on: node)
                try Self.expectRedirection(node)
                try agent.terminate()
                #expect(try agent.finish() == 0)
                let nft = try Self.swerve(node, "mode", "web", "nft")
                // Flows through tc are kept for a while after their end.
                #expect(nft.hasSuffix("web: redirected by nft (asked for)\n"), "\(nft)")
                try Self.expectRedirection(node)
                #expect(try Self.swerve(node, "remove", "web") == "web: removed\n")
                let after = try Leavings(of: node)
                #expect(after == before, "\(after.difference(from: before))")
            }
        }
    }

    @Test(.timeLimit(.minutes(3)))
    func `who forgets the ceiling is told of it, and nothing is changed`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with(below: KernelVersion(5, 4)) { node in
                try Self.apply(node)
                let bare = node.options.filter { $0 != "--max-features" && $0 != "5.4" }
                let removal = try BuiltProgram.run("swerve", ["remove", "web"] + bare)
                #expect(removal.status == 1)
                #expect(removal.output.contains("give the --max-features it was made with"))
                try Self.expectRedirection(node)
                #expect(try Self.swerve(node, "remove", "web") == "web: removed\n")
            }
        }
    }

    private static func apply(_ node: EngineNode) throws {
        let policy = node.directory + "/policy.yaml"
        try Data("apiVersion: swerve.dev/v1\nkind: Policy\npreset: fsm\n".utf8)
            .write(to: URL(filePath: policy))
        let own = try #require(node.pod.workload.cgroup)
        let apply = try swerve(
            node, "apply", "-f", policy, "--netns", node.namespace, "--cgroup", own.path,
            "--name", "web", "--mode", "ebpf")
        #expect(apply == "web: redirected by ebpf (asked for)\n")
    }

    private static func swerve(_ node: EngineNode, _ words: String...) throws -> String {
        let result = try BuiltProgram.run("swerve", words + node.options)
        #expect(result.status == 0, "\(words): \(result)")
        return result.output
    }

    private static func expectRedirection(_ node: EngineNode) throws {
        for (direction, family) in TestPod.ways {
            #expect(try node.pod.isIntercepted(direction, family), "\(direction) \(family)")
        }
    }

    // MARK: The program at connect(2), as bpftool sees it

    private static func programs(on node: EngineNode) throws -> [String] {
        let own = try #require(node.pod.workload.cgroup)
        // ID, the hook, perhaps flags, the program's name.
        let shown = try StockTool.run("bpftool", "cgroup", "show", own.path, in: .current())
        return shown.output.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: " ").map(String.init)
            return fields.last == "swerve_connect4" ? fields.first : nil
        }
    }

    private static func detach(from node: EngineNode) throws {
        let own = try #require(node.pod.workload.cgroup)
        let id = try #require(try programs(on: node).first)
        let result = try StockTool.run(
            "bpftool", "cgroup", "detach", own.path, "cgroup_inet4_connect", "id", id,
            in: .current())
        #expect(result.status == 0, "\(result.output)")
        #expect(try programs(on: node).isEmpty)
    }

    private static func waitForProgram(on node: EngineNode) async throws {
        for _ in 0..<600 {
            if try !programs(on: node).isEmpty { return }
            try await Task.sleep(for: .milliseconds(100))
        }
        Issue.record("nobody repaired the program")
    }
}
