// SPDX-License-Identifier: Apache-2.0

import Foundation
import KernelTestSupport
import LinuxKernel
import Testing

/// What of a node an installation touches, in a directory of the test's own.
final class NodeDirectory: Sendable {
    let path = "/tmp/swerve-install-\(UInt32.random(in: 0 ... .max))"

    var configurations: String { path + "/net.d" }
    var plugins: String { path + "/bin" }
    var units: String { path + "/systemd" }
    var program: String { plugins + "/swerve-cni" }
    var unit: String { units + "/swerved.service" }

    /// What flannel writes.
    static let flannel = """
        {
          "name": "cbr0",
          "cniVersion": "0.3.1",
          "plugins": [
            {"type": "flannel", "delegate": {"hairpinMode": true}},
            {"type": "portmap", "capabilities": {"portMappings": true}}
          ]
        }

        """

    init() throws {
        for directory in [configurations, plugins, units] {
            try FileManager.default.createDirectory(
                atPath: directory, withIntermediateDirectories: true)
        }
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    var options: [String] {
        [
            "--cni-conf-dir", configurations, "--cni-bin-dir", plugins, "--systemd-dir", units,
        ]
    }

    func write(_ name: String, _ text: String) throws {
        try Data(text.utf8).write(to: URL(filePath: configurations + "/" + name))
    }

    func text(_ name: String) -> String? {
        FileManager.default.contents(atPath: configurations + "/" + name)
            .map { String(decoding: $0, as: UTF8.self) }
    }

    /// Every file there is, with what is in it; programs by their length.
    var everything: [String: String] {
        let names = FileManager.default.enumerator(atPath: path)?.allObjects as? [String] ?? []
        return names.reduce(into: [:]) { files, name in
            let bytes = FileManager.default.contents(atPath: path + "/" + name)
            files[name] = bytes.map {
                $0.count > 100_000 ? "\($0.count)" : String(decoding: $0, as: UTF8.self)
            }
        }
    }

    func run(_ words: [String], _ more: [String] = []) throws -> BuiltProgram.Result {
        try BuiltProgram.run("swerve", ["node"] + words + options + more)
    }
}
