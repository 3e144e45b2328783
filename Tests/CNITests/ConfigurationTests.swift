// SPDX-License-Identifier: Apache-2.0

import AgentTestSupport
import CNIConfiguration
import CNIPlugin
import Foundation
import KernelTestSupport
import LinuxKernel
import OrderedJSON
import Testing

@Suite struct ConfigurationTests {
    @Test func `a list gets our entry at its end, and is itself again afterwards`() throws {
        let directory = try ConfigurationDirectory()
        let before = ConfigurationDirectory.flannel()
        try directory.overwrite("10-flannel.conflist", before)
        let report = try directory.chain.install()
        #expect(report.file == "10-flannel.conflist" && report.changed && report.problems == [:])
        #expect(directory.types("10-flannel.conflist") == ["flannel", "portmap", "swerve-cni"])
        // Not a byte of the others' is touched: what we add is all in one place.
        let after = try #require(directory["10-flannel.conflist"])
        let added = after.utf8.count - before.utf8.count
        let kept = before.utf8.indices.contains { index in
            after.hasPrefix(before[..<index]) && after.hasSuffix(before[index...])
        }
        #expect(added > 0 && kept)
        #expect(try directory.chain.install().changed == false)
        #expect(directory["10-flannel.conflist"] == after)
        #expect(try directory.chain.uninstall().changed)
        #expect(directory.files == ["10-flannel.conflist": before])
        #expect(try directory.chain.uninstall().changed == false)
    }

    @Test(arguments: ["10-bridge.conf", "10-bridge.json"])
    func `a plugin that was alone becomes a list, and is alone again afterwards`(
        name: String
    ) throws {
        let directory = try ConfigurationDirectory()
        try directory.overwrite(name, ConfigurationDirectory.bridge)
        let report = try directory.chain.install()
        #expect(report.file == "10-bridge.conflist" && report.changed)
        #expect(directory.types("10-bridge.conflist") == ["bridge", "swerve-cni"])
        let list = try JSON(parsing: try #require(directory["10-bridge.conflist"]))
        #expect(list["name"]?.text == "pods" && list["cniVersion"]?.text == "0.4.0")
        #expect(directory[name] == nil, "it would be taken before the list")
        #expect(try directory.chain.install().changed == false)
        #expect(try directory.chain.uninstall().changed)
        #expect(directory.files == [name: ConfigurationDirectory.bridge])
    }

    @Test func `the first valid file is taken, and what is broken before it is named`() throws {
        let directory = try ConfigurationDirectory()
        let broken = [
            "00-broken.conflist": "{\"name\": ", "01-nameless.conflist": "{\"plugins\": [{}]}",
            "02-empty.conflist": "{\"name\": \"x\", \"plugins\": []}", "03-typeless.conf": "{}",
            "04-list.json": ConfigurationDirectory.flannel(),
        ]
        for (name, text) in broken { try directory.overwrite(name, text) }
        try directory.overwrite("05-note.txt", "not a configuration")
        try directory.overwrite("20-b.conflist", ConfigurationDirectory.flannel())
        try directory.overwrite("10-a.conflist", ConfigurationDirectory.flannel())
        let before = directory.files
        let report = try directory.chain.install()
        #expect(report.file == "10-a.conflist")
        #expect(Set(report.problems.keys) == Set(broken.keys))
        #expect(report.problems["00-broken.conflist"]?.contains("line 1") == true)
        let after = directory.files
        #expect(
            before.filter { $0.key != "10-a.conflist" }
                == after.filter { $0.key != "10-a.conflist" })
        _ = try directory.chain.uninstall()
        #expect(directory.files == before)
    }

    @Test(arguments: ["\"0.2.0\"", "\"0.1.0\"", nil])
    func `a configuration too old for chains is left alone`(version: String?) throws {
        let directory = try ConfigurationDirectory()
        let field = version.map { "\"cniVersion\": \($0), " } ?? ""
        try directory.overwrite("10-old.conf", "{\(field)\"name\": \"x\", \"type\": \"bridge\"}")
        try directory.overwrite("20-new.conflist", ConfigurationDirectory.flannel())
        let before = directory.files
        let report = try directory.chain.install()
        #expect(report.file == nil && !report.changed)
        #expect(report.problems["10-old.conf"]?.contains("0.3.0") == true)
        #expect(directory.files == before)
    }

    @Test func `a list beside a lonely plugin is not ours to overwrite`() throws {
        let directory = try ConfigurationDirectory()
        try directory.overwrite("10-x.conf", ConfigurationDirectory.bridge)
        try directory.overwrite("10-x.conflist", ConfigurationDirectory.flannel())
        let before = directory.files
        let report = try directory.chain.install()
        #expect(report.file == nil && report.problems.keys.contains("10-x.conflist"))
        #expect(directory.files == before)
    }

    @Test func `what the operator has changed in our list stays when we go`() throws {
        let directory = try ConfigurationDirectory()
        try directory.overwrite("10-bridge.conf", ConfigurationDirectory.bridge)
        _ = try directory.chain.install()
        let list = try #require(directory["10-bridge.conflist"])
        try directory.overwrite(
            "10-bridge.conflist", list.replacingOccurrences(of: "10.1.0.0", with: "10.2.0.0"))
        _ = try directory.chain.uninstall()
        #expect(Array(directory.files.keys) == ["10-bridge.conflist"])
        #expect(directory.types("10-bridge.conflist") == ["bridge"])
        #expect(directory["10-bridge.conflist"]?.contains("10.2.0.0") == true)
    }

    @Test func `another setting replaces the entry where it is`() throws {
        let directory = try ConfigurationDirectory()
        try directory.overwrite("10-flannel.conflist", ConfigurationDirectory.flannel())
        _ = try directory.chain.install()
        var other = PluginConfiguration()
        other.failurePolicy = .open
        let chain = ConfigurationChain(directory: directory.path, entry: other.entry)
        #expect(try chain.install().changed)
        #expect(directory.types("10-flannel.conflist") == ["flannel", "portmap", "swerve-cni"])
        #expect(directory["10-flannel.conflist"]?.contains("\"failurePolicy\":\"open\"") == true)
        _ = try chain.uninstall()
        #expect(directory.files == ["10-flannel.conflist": ConfigurationDirectory.flannel()])
    }

    @Test func `a file keeps its mode, and a link stays a link`() throws {
        let directory = try ConfigurationDirectory()
        try directory.overwrite("real", ConfigurationDirectory.flannel())
        let real = directory.path + "/real"
        try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: real)
        try FileManager.default.createSymbolicLink(
            atPath: directory.path + "/10-x.conflist", withDestinationPath: "real")
        for chained in [true, false] {
            _ = try chained ? directory.chain.install() : directory.chain.uninstall()
            #expect(directory.types("real")?.contains("swerve-cni") == chained)
            let link = try FileManager.default.destinationOfSymbolicLink(
                atPath: directory.path + "/10-x.conflist")
            #expect(link == "real")
            let mode = try FileManager.default.attributesOfItem(atPath: real)[.posixPermissions]
            #expect(mode as? Int == 0o640)
        }
    }

    @Test func `what an interrupted change has put aside is brought back if it is newer`() throws {
        let directory = try ConfigurationDirectory()
        let name = "10-flannel.conflist"
        let aside = "." + name + ".swerve-new"
        try directory.overwrite(name, ConfigurationDirectory.flannel(1))
        _ = try directory.chain.install()
        let ours = try #require(directory[name])
        // Killed between the exchange and the look: somebody's second generation is aside.
        try directory.overwrite(aside, ConfigurationDirectory.flannel(2))
        #expect(try directory.chain.install().changed)
        #expect(directory.types(name)?.last == "swerve-cni")
        // Killed before the exchange, or with what ours was made from aside: nothing is lost.
        for harmless in [ours, ConfigurationDirectory.flannel(2), "{", ""] {
            try directory.overwrite(aside, harmless)
            #expect(try directory.chain.install().changed == false)
            #expect(Array(directory.files.keys) == [name])
        }
        try directory.overwrite(aside, ConfigurationDirectory.flannel(3))
        #expect(try directory.chain.uninstall().changed)
        #expect(directory.files == [name: ConfigurationDirectory.flannel(3)])
    }

    @Test func `the program is copied whole, once, and runs`() throws {
        let directory = try ConfigurationDirectory()
        let program = PluginProgram(in: directory.path)
        #expect(try program.install(from: PluginProcess.ours))
        #expect(try program.install(from: PluginProcess.ours) == false)
        var installed = PluginProcess("VERSION")
        installed.program = directory.path + "/swerve-cni"
        #expect(try installed.run(JSON.object([])).status == 0)
        try program.uninstall()
        try program.uninstall()
        #expect(directory.files.isEmpty)
    }

    @Test func `a node's layout is known by its directories`() throws {
        let root = "/tmp/swerve-root-\(UInt32.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: root) }
        #expect(NodeLayout.detect(root: root) == .standard)
        for layout in NodeLayout.all.reversed() {
            for path in [layout.configurationDirectory, layout.pluginDirectories[0]] {
                try FileManager.default.createDirectory(
                    atPath: root + path, withIntermediateDirectories: true)
            }
            #expect(NodeLayout.detect(root: root) == layout)
            #expect(layout.pluginDirectory(root: root) == layout.pluginDirectories[0])
        }
    }
}
