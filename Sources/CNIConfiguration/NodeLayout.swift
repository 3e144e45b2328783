// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials

/// Where a node keeps its network configurations and its CNI plugins.
package struct NodeLayout: Hashable, Sendable {
    package let name: String
    package let configurationDirectory: String
    /// Where plugins are looked for; the first that exists is the node's.
    package let pluginDirectories: [String]

    /// Read by containerd, CRI-O and kubelet unless told otherwise: kubeadm, kind, RKE2, minikube.
    package static let standard = NodeLayout(
        name: "standard", configurationDirectory: "/etc/cni/net.d",
        pluginDirectories: ["/opt/cni/bin", "/usr/libexec/cni", "/usr/lib/cni"])

    /// K3s has its own containerd; the second directory is that of releases before `data/cni`.
    package static let k3s = NodeLayout(
        name: "k3s", configurationDirectory: "/var/lib/rancher/k3s/agent/etc/cni/net.d",
        pluginDirectories: [
            "/var/lib/rancher/k3s/data/cni", "/var/lib/rancher/k3s/data/current/bin",
        ])

    /// MicroK8s, a snap.
    package static let microk8s = NodeLayout(
        name: "microk8s", configurationDirectory: "/var/snap/microk8s/current/args/cni-network",
        pluginDirectories: ["/var/snap/microk8s/current/opt/cni/bin"])

    /// All that are known; those with directories nobody else has come first.
    package static let all = [k3s, microk8s, standard]

    /// The layout of the node whose files are below `root`.
    package static func detect(root: String = "") -> NodeLayout {
        all.first { exists(root + $0.configurationDirectory) } ?? standard
    }

    /// The directory a plugin belongs into on that node; `nil` if there is none yet.
    package func pluginDirectory(root: String = "") -> String? {
        pluginDirectories.first { Self.exists(root + $0) }
    }

    private static func exists(_ path: String) -> Bool {
        FileManager.default.fileExists(atPath: path)
    }
}
