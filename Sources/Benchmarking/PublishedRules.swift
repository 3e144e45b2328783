// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import RedirectionEngine
package import RedirectionModel

/// The rules that a mesh itself installs in a pod, in the syntax of iptables-save(8).
package struct PublishedRules: Hashable, Sendable {
    package let preset: Preset.Name
    private let text: [AddressFamily: String]

    /// Reads `PRESET.v4` and `PRESET.v6`.
    package init(_ preset: Preset.Name, in directory: String) throws {
        self.preset = preset
        text = [
            .ipv4: try readFile("\(directory)/\(preset).v4"),
            .ipv6: try readFile("\(directory)/\(preset).v6"),
        ]
    }

    /// Those that the mesh has rules for.
    var families: [AddressFamily] {
        AddressFamily.allCases.filter { text[$0]?.contains("\n*") ?? false }
    }

    /// What the meshes use, in the one variant or the other; no other mechanism has it.
    static func program(_ mechanism: Mechanism, _ family: AddressFamily) -> String {
        (family == .ipv4 ? "iptables-" : "ip6tables-") + "\(mechanism)-restore"
    }

    /// Puts them into the pod, by the program that the meshes use: what is measured is their rules,
    /// and not what we would make of them.
    func install(in pod: BenchPod, _ mechanism: Mechanism, lockFile: String) throws {
        for family in families {
            var tool = OtherProgram([Self.program(mechanism, family), "--noflush"])
            tool.environment = ["XTABLES_LOCKFILE=" + lockFile]
            tool.input = text[family] ?? ""
            _ = try tool.run(in: (pod.namespace, pod.cgroup), within: .seconds(30))
        }
    }
}
