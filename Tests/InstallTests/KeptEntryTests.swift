// SPDX-License-Identifier: Apache-2.0

import Foundation
import KernelTestSupport
import LinuxKernel
import OrderedJSON
import Testing

/// `swerved --cni-conf-dir`: the entry is there whoever else writes, and whatever happens between.
@Suite(.requiresKernel, .timeLimit(.minutes(2))) struct KeptEntryTests {
    private func agent(_ node: NodeDirectory, _ options: [String] = []) throws -> RunningProgram {
        let agent = try RunningProgram(
            "swerved",
            [
                "--state-dir", node.path + "/run", "--pins", node.path + "/pins",
                "--cni-conf-dir", node.configurations,
            ] + options, joiningErrors: true)
        #expect(try agent.line(containing: "recovered") != nil)
        return agent
    }

    private func entry(_ node: NodeDirectory) throws -> JSON? {
        guard let text = node.text("10-flannel.conflist"), let list = try? JSON(parsing: text)
        else { return nil }
        return list["plugins"]?.elements?.last { $0["type"]?.text == "swerve-cni" }
    }

    @Test func `a reboot after which the primary writes its file anew`() async throws {
        let node = try NodeDirectory()
        try node.write("10-flannel.conflist", NodeDirectory.flannel)
        let first = try agent(node)
        try await waitUntil { try entry(node) != nil }
        #expect(try entry(node)?["agentSocket"]?.text == node.path + "/run/agent.sock")
        try first.kill()
        #expect(try entry(node) != nil, "pods wait for the next agent, and do not start without")
        // What is in /run does not outlive a boot, and the primary knows nothing of us.
        try FileManager.default.removeItem(atPath: node.path + "/run")
        try node.write("10-flannel.conflist", NodeDirectory.flannel)
        #expect(try entry(node) == nil)
        let second = try agent(node, ["--failure-policy", "open", "--plugin-timeout", "7"])
        try await waitUntil { try entry(node) != nil }
        #expect(try entry(node)?["failurePolicy"]?.text == "open")
        #expect(try entry(node)?["timeoutSeconds"]?.integer == 7)
        // And while it runs.
        for _ in 0..<3 {
            try node.write("10-flannel.conflist", NodeDirectory.flannel)
            try await waitUntil { try entry(node) != nil }
        }
        try second.terminate()
        #expect(try second.finish() == 0)
        #expect(try entry(node) != nil)
        #expect(try node.run(["uninstall"]).status == 0)
        #expect(node.text("10-flannel.conflist") == NodeDirectory.flannel)
    }

    @Test func `the network comes after the agent, and what stands in the way is told`()
        async throws
    {
        let node = try NodeDirectory()
        let agent = try agent(node)
        try node.write("05-broken.conflist", "{")
        #expect(try agent.line(containing: "05-broken.conflist") != nil)
        try node.write("10-flannel.conflist", NodeDirectory.flannel)
        #expect(try agent.line(containing: "pods are told of") != nil)
        try await waitUntil { try entry(node) != nil }
        let ready = try BuiltProgram.run(
            "swerve", ["node", "ready", "--state-dir", node.path + "/run"])
        #expect(ready.output == "ok\n" && ready.status == 0, "\(ready.output)")
        let whole = ["node", "ready", "--state-dir", node.path + "/run", "--wait", "60"]
        let both = try BuiltProgram.run(
            "swerve", whole + ["--cni-conf-dir", node.configurations])
        #expect(both.output == "ok\n" && both.status == 0, "\(both.output)")
        let other = try NodeDirectory()
        try other.write("10-flannel.conflist", NodeDirectory.flannel)
        let without = try BuiltProgram.run(
            "swerve", whole.dropLast(2) + ["--cni-conf-dir", other.configurations])
        #expect(
            without.status == 1 && without.output.contains("does not call"), "\(without.output)")
        let versions = try BuiltProgram.run(
            "swerve", ["version", "--json", "--state-dir", node.path + "/run"])
        let json = try JSON(parsing: versions.output)
        #expect(json["agent"] == json["client"] && json["agent"] != nil, "\(versions.output)")
        try agent.terminate()
        #expect(try agent.finish() == 0)
        let gone = try BuiltProgram.run(
            "swerve", ["node", "ready", "--state-dir", node.path + "/run"])
        #expect(gone.status == 1 && gone.output.contains("no agent listens"))
    }

    @Test func `a directory that is none is refused, and none at all where there may be none`()
        throws
    {
        for option in ["--cni-conf-dir", "--cni-cache-dir"] {
            let run = try BuiltProgram.run("swerved", [option, "etc/cni"])
            #expect(run.status == 2, "\(run.output)")
            #expect(run.output.contains("\(option) etc/cni: give a path that begins with /"))
        }
        let node = try NodeDirectory()
        let agent = try agent(node, ["--cni-cache-dir=none"])
        try agent.terminate()
        #expect(try agent.finish() == 0)
    }

    @Test func `requests are in the log when debug is asked for, and not else`() throws {
        for level in ["info", "debug"] {
            let node = try NodeDirectory()
            let agent = try agent(node, ["--log-level", level, "--log-format", "json"])
            let ready = try BuiltProgram.run(
                "swerve", ["node", "ready", "--state-dir", node.path + "/run"])
            #expect(ready.status == 0)
            try agent.terminate()
            var lines: [String] = []
            while let line = try agent.line() { lines.append(line) }
            #expect(try agent.finish() == 0)
            let requests = lines.filter { $0.contains("GET /readyz") }
            #expect(requests.isEmpty == (level == "info"), "\(lines)")
        }
    }
}
