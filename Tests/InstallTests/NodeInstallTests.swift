// SPDX-License-Identifier: Apache-2.0

import CNIConfiguration
import Foundation
import HelmChart
import KernelTestSupport
import LinuxKernel
import NodeInstallation
import OrderedJSON
import Testing

@Suite(.requiresKernel, .timeLimit(.minutes(2))) struct NodeInstallTests {
    private func expectFailure(
        _ node: NodeDirectory, _ words: [String], says texts: [String], status: Int = 1,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let before = node.everything
        let result = try BuiltProgram.run("swerve", ["node", "install"] + words)
        #expect(result.status == status, "\(result.output)", sourceLocation: sourceLocation)
        for text in texts {
            #expect(
                result.output.contains(text), "\(result.output)", sourceLocation: sourceLocation)
        }
        #expect(node.everything == before, "nothing is half done", sourceLocation: sourceLocation)
    }

    @Test func `program, entry and unit come, again is once, and they go without a trace`() throws {
        let node = try NodeDirectory()
        try node.write("10-flannel.conflist", NodeDirectory.flannel)
        let before = node.everything
        let dry = try node.run(["install", "--systemd", "--dry-run"])
        #expect(dry.status == 0 && dry.output.contains("swerve-cni"), "\(dry.output)")
        #expect(dry.output.contains("ExecStart=/"))
        #expect(node.everything == before, "a dry run changes nothing")
        let first = try node.run(["install", "--systemd", "--failure-policy", "open"])
        #expect(first.status == 0, "\(first.output)")
        let list = try JSON(parsing: try #require(node.text("10-flannel.conflist")))
        let ours = list["plugins"]?.elements?.last
        #expect(ours?["type"]?.text == "swerve-cni" && ours?["failurePolicy"]?.text == "open")
        #expect(FileManager.default.isExecutableFile(atPath: node.program))
        let unit = try readFile(node.unit)
        let line = try #require(unit.split(separator: "\n").first { $0.hasPrefix("ExecStart=") })
        #expect(line.contains("/swerved --cni-conf-dir=\(node.configurations) "), "\(line)")
        #expect(line.hasSuffix("--failure-policy=open --plugin-timeout=20"), "\(line)")
        let enabled = node.units + "/multi-user.target.wants/swerved.service"
        #expect(try readFile(enabled) == unit)
        let installed = node.everything
        let second = try node.run(["install", "--systemd", "--failure-policy", "open"])
        #expect(second.status == 0 && !second.output.contains("written"), "\(second.output)")
        #expect(node.everything == installed)
        #expect(try node.run(["uninstall", "--dry-run"]).output.contains("10-flannel.conflist"))
        #expect(node.everything == installed)
        let removed = try node.run(["uninstall"])
        #expect(removed.status == 0, "\(removed.output)")
        #expect(node.everything == before, "every byte of others is as it was")
        #expect(try node.run(["uninstall"]).status == 0)
    }

    @Test func `a configuration that is not root's is its owner's after all`() throws {
        let node = try NodeDirectory()
        try node.write("10-flannel.conflist", NodeDirectory.flannel)
        let file = node.configurations + "/10-flannel.conflist"
        #expect(try tool(["chown", "1000:1000", file]).status == 0)
        // What the removal's first step may do.
        var values = ChartValues()
        try values.set("uninstalling=true")
        let lists = try Chart().manifests(values).flatMap { $0.split(separator: "\n") }
            .filter { $0.contains("add: [") }
        let set = try #require(lists.first?.split(separator: "[").last?.dropLast())
            .split(separator: ", ").map { ",+" + $0.lowercased() }.joined()
        for words in [["install"], ["uninstall"]] {
            let result = try tool(
                [
                    "setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all" + set,
                    BuiltProgram.path("swerve"), "node",
                ] + words + node.options)
            #expect(result.status == 0, "\(result.output)")
            #expect(try tool(["stat", "-c", "%u:%g", file]).output == "1000:1000\n")
        }
        #expect(node.text("10-flannel.conflist") == NodeDirectory.flannel)
    }

    @Test func `where the unit cannot be, there is no entry, and the other way round`() throws {
        let node = try NodeDirectory()
        // No directory can be made where a file is.
        try Data().write(to: URL(filePath: node.units + "/multi-user.target.wants"))
        try node.write("10-flannel.conflist", NodeDirectory.flannel)
        try expectFailure(node, node.options + ["--systemd"], says: ["cannot write"])
        for socket in ["agent.sock", "/" + String(repeating: "s", count: 107)] {
            try expectFailure(
                node, node.options + ["--socket", socket], says: ["108 bytes"], status: 2)
        }
        try FileManager.default.removeItem(atPath: node.units + "/multi-user.target.wants")
        // What the program goes through is taken, which the look before does not see.
        try FileManager.default.createDirectory(
            atPath: FileReplacement.aside(node.program), withIntermediateDirectories: false)
        try expectFailure(node, node.options + ["--systemd"], says: ["swerve-cni"])
    }

    @Test func `a lonely plugin, and the program alone`() throws {
        let node = try NodeDirectory()
        let alone = #"{"cniVersion": "0.4.0", "name": "pods", "type": "bridge"}"#
        try node.write("10-bridge.conf", alone)
        let before = node.everything
        #expect(try node.run(["install", "--program-only"]).status == 0)
        #expect(node.text("10-bridge.conf") == alone)
        #expect(FileManager.default.isExecutableFile(atPath: node.program))
        #expect(try node.run(["install"]).status == 0)
        #expect(node.text("10-bridge.conf") == nil)
        #expect(node.text("10-bridge.conflist")?.contains("swerve-cni") == true)
        #expect(try node.run(["uninstall"]).status == 0)
        #expect(node.everything == before)
    }

    @Test func `what stands in the way is named, and nothing is half done`() throws {
        let node = try NodeDirectory()
        try expectFailure(node, node.options, says: ["has no network configuration"])
        try node.write("10-broken.conflist", "{")
        try expectFailure(node, node.options, says: ["10-broken.conflist", "line 1"])
        try node.write(
            "10-broken.conflist", #"{"name": "x", "cniVersion": "0.1.0", "plugins": []}"#)
        try expectFailure(node, node.options, says: ["10-broken.conflist", "no plugins"])
        try node.write(
            "10-broken.conflist",
            #"{"name": "x", "cniVersion": "0.2.0", "plugins": [{"type": "bridge"}]}"#)
        try expectFailure(node, node.options, says: ["0.2.0", "a chain needs"])
        try node.write("10-broken.conflist", NodeDirectory.flannel)
        let missing = node.path + "/none"
        try expectFailure(
            node, ["--cni-conf-dir", missing, "--cni-bin-dir", node.plugins],
            says: [missing, "--cni-conf-dir"])
        try expectFailure(
            node, ["--cni-conf-dir", node.configurations, "--cni-bin-dir", missing],
            says: [missing, "--cni-bin-dir"])
        try expectFailure(node, node.options + ["--plugin", missing], says: [missing, "--plugin"])
        try expectFailure(
            node, node.options + ["--plugin", node.configurations + "/10-broken.conflist"],
            says: ["no program"])
        try expectFailure(
            node, node.options + ["--systemd", "--systemd-dir", missing], says: ["no systemd"])
        try expectFailure(
            node, node.options + ["--plugin-timeout", "0"], says: ["1 to 300"], status: 2)
        try expectFailure(
            node, ["--cni-conf-dir", "net.d"], says: ["begins with /"], status: 2)
        try Data("[Unit]\n".utf8).write(to: URL(filePath: node.unit))
        try expectFailure(node, node.options + ["--systemd"], says: ["another's unit"])
    }

    @Test func `where an agent keeps the entry, uninstall says to stop it first`() throws {
        let node = try NodeDirectory()
        try node.write("10-flannel.conflist", NodeDirectory.flannel)
        let socket = node.path + "/agent.sock"
        #expect(try node.run(["install", "--socket", socket]).status == 0)
        let listener = try RunningProgram(
            "swerved",
            [
                "--state-dir", node.path + "/state", "--socket", socket,
                "--pins", node.path + "/pins",
            ], joiningErrors: true)
        #expect(try listener.line(containing: "listening") != nil)
        let before = node.text("10-flannel.conflist")
        let refused = try node.run(["uninstall"])
        #expect(
            refused.status == 1 && refused.output.contains("stop it first"), "\(refused.output)")
        #expect(node.text("10-flannel.conflist") == before)
        try listener.terminate()
        #expect(try listener.finish() == 0)
        #expect(try node.run(["uninstall"]).status == 0)
        #expect(node.text("10-flannel.conflist") == NodeDirectory.flannel)
    }

    @Test func `K3s and kind are found where they have theirs`() throws {
        let node = try NodeDirectory()
        func make(_ directories: String...) throws {
            for directory in directories {
                try FileManager.default.createDirectory(
                    atPath: node.path + directory, withIntermediateDirectories: true)
            }
        }
        try make("/etc/cni/net.d", "/opt/cni/bin")
        var found = NodeInstallation.detect(root: node.path)
        #expect(found.configurationDirectory == node.path + "/etc/cni/net.d", "kind, kubeadm")
        #expect(found.pluginDirectory == node.path + "/opt/cni/bin")
        try make("/var/lib/rancher/k3s/agent/etc/cni/net.d", "/var/lib/rancher/k3s/data/cni")
        found = NodeInstallation.detect(root: node.path)
        #expect(
            found.configurationDirectory == node.path + "/var/lib/rancher/k3s/agent/etc/cni/net.d")
        #expect(found.pluginDirectory == node.path + "/var/lib/rancher/k3s/data/cni")
    }

    @Test func `the unit's lines are settings, and the ones that matter are there`() throws {
        let text = try SystemdUnit.text(
            ["/bin/true", "--policy=/etc/swerve/policy.yaml"], waiting: ["/bin/true", "--wait=9"])
        #expect(text.contains("\nExecStartPost=-/bin/true --wait=9\n"))
        #expect(text.contains("\nStartLimitIntervalSec=0\n"))
        #expect(text.contains("\nProtectHome=yes\n"))
        let home = try SystemdUnit.text(["/bin/true", "--policy=/root/p.yaml"], waiting: [])
        #expect(home.contains("\nProtectHome=read-only\n"), "what is named there can be read")
        #expect(text.contains("\nExecStart=/bin/true --policy=/etc/swerve/policy.yaml\n"))
        #expect(throws: NodeInstallationError.self) {
            try SystemdUnit.text(["/opt/my agent"], waiting: [])
        }
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            #expect(line.hasPrefix("[") || line.contains("="), "\(line)")
        }
        let keys = text.split(separator: "\n").filter { !$0.hasPrefix("#") && $0.contains("=") }
            .map { $0.prefix { $0 != "=" } }
        for key in [
            "CapabilityBoundingSet", "NoNewPrivileges", "RuntimeDirectoryPreserve", "Restart",
        ] { #expect(keys.contains { $0 == key }, "\(key)") }
    }
}
