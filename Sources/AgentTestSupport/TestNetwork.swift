// SPDX-License-Identifier: Apache-2.0

package import CNIPlugin
internal import Foundation
package import OrderedJSON

/// What a runtime sends to a chained plugin, with a directory for the agent's socket.
package final class TestNetwork: Sendable {
    package let directory: String
    package var socket: String { directory + "/agent.sock" }

    package init() throws {
        directory = "/tmp/swerve-cni-\(UInt32.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: false)
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    /// Our entry in the configuration, as containerd completes it.
    package func input(
        _ version: CNIVersion = .v1_0_0, _ fields: KeyValuePairs<String, JSON?> = [:]
    ) -> JSON {
        var json = JSON(members: [
            "cniVersion": .string(version.rawValue), "name": .string("shop-network"),
            "type": .string("swerve-cni"), "agentSocket": .string(socket),
            "capabilities": JSON(members: [PluginConfiguration.annotationsCapability: .bool(true)]),
            "prevResult": Self.result(version),
        ])
        for (name, value) in fields { json = json.setting(name, to: value) }
        return json
    }

    /// What bridge and portmap leave, in the words of each version.
    package static func result(_ version: CNIVersion) -> JSON {
        let has1_1 = version >= .v1_1_0
        let host = JSON(members: [
            "name": .string("cni0"), "mac": .string("aa:00:00:00:00:01"),
            "mtu": has1_1 ? JSON(1450) : nil, "pciID": has1_1 ? .string("0000:00:1f.6") : nil,
        ])
        let pod = JSON(members: [
            "name": .string("eth0"), "mac": .string("aa:00:00:00:00:02"),
            "sandbox": .string("/var/run/netns/cni-0c51"),
            "mtu": has1_1 ? JSON(1450) : nil, "socketPath": has1_1 ? .string("/run/x") : nil,
        ])
        func address(_ text: String, _ family: String, _ interface: Int) -> JSON {
            JSON(members: [
                "version": version < .v1_0_0 ? .string(family) : nil,
                "interface": JSON(interface), "address": .string(text),
            ])
        }
        let route = JSON(members: [
            "dst": .string("0.0.0.0/0"), "gw": .string("10.244.1.1"),
            "priority": has1_1 ? JSON(10) : nil, "scope": has1_1 ? JSON(0) : nil,
        ])
        return JSON(members: [
            "cniVersion": .string(version.rawValue), "interfaces": .array([host, pod]),
            "ips": .array([
                address("10.244.1.7/24", "4", 1), address("fd00::7/64", "6", 1),
                address("10.244.1.1/24", "4", 0),
            ]),
            "routes": .array([route]),
            "dns": JSON(members: ["nameservers": .array([.string("10.96.0.10")])]),
        ])
    }
}

extension JSON {
    /// The value whose objects are compared without regard to the order of their members.
    package var unordered: JSON {
        switch self {
        case .object(let members):
            .object(
                members.map { Member($0.name, $0.value.unordered) }.sorted { $0.name < $1.name })
        case .array(let elements): .array(elements.map(\.unordered))
        default: self
        }
    }
}
