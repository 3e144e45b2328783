// SPDX-License-Identifier: Apache-2.0

import CNIPlugin
import Foundation
import OrderedJSON

@testable import CNIConfiguration

/// A directory like `/etc/cni/net.d`, of the test's own.
final class ConfigurationDirectory: Sendable {
    let path = "/tmp/swerve-net.d-\(UInt32.random(in: 0 ... .max))"
    let chain: ConfigurationChain

    init(policy: PluginConfiguration.FailurePolicy = .closed) throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        var configuration = PluginConfiguration()
        configuration.failurePolicy = policy
        chain = ConfigurationChain(directory: path, entry: configuration.entry)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    subscript(name: String) -> String? {
        (FileManager.default.contents(atPath: path + "/" + name)).map {
            String(decoding: $0, as: UTF8.self)
        }
    }

    /// All files, hidden ones too, by their names.
    var files: [String: String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        return Dictionary(uniqueKeysWithValues: names.map { ($0, self[$0] ?? "") })
    }

    /// Writes over a file as `cp` does: the same inode, empty for a moment.
    func overwrite(_ name: String, _ text: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/" + name))
    }

    /// Puts a file in another's place, as a careful writer does.
    func replace(_ name: String, _ text: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/" + name), options: .atomic)
    }

    func remove(_ name: String) throws {
        try FileManager.default.removeItem(atPath: path + "/" + name)
    }

    /// The types in a list, in their order.
    func types(_ name: String) -> [String?]? {
        self[name].flatMap { try? JSON(parsing: $0) }?["plugins"]?.elements?.map {
            $0["type"]?.text
        }
    }

    /// What flannel writes, in a generation of its own.
    static func flannel(_ generation: Int = 0) -> String {
        """
        {
          "name": "cbr0",
          "cniVersion": "0.3.1",
          "generation": \(generation),
          "plugins": [
            {
              "type": "flannel",
              "delegate": {"hairpinMode": true, "mtu": 1.450e3}
            },
            {
              "type": "portmap",
              "capabilities": {"portMappings": true}
            }
          ]
        }

        """
    }

    static let bridge = """
        {"cniVersion": "0.4.0", "name": "pods", "type": "bridge", "bridge": "cni0",
         "ipam": {"type": "host-local", "subnet": "10.1.0.0/16"}}
        """
}
