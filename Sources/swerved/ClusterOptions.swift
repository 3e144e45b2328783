// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import KubernetesClient
internal import NodeAgent

#if canImport(Glibc)
internal import Glibc
#endif

/// How the agent of a cluster's node is to know the cluster.
struct ClusterOptions: ParsableArguments {
    @Flag(
        help: ArgumentHelp(
            """
            Follow the labels and annotations of this node's pods and their namespaces, with the \
            pod's own service account (docs/kubernetes.md).
            """))
    var kubernetes = false

    @Option(
        help: ArgumentHelp(
            "The API server, in place of the cluster's own service; implies --kubernetes.",
            valueName: "url"))
    var kubeServer: String?

    @Option(
        help: ArgumentHelp(
            "A file with the token, in place of the service account's.", valueName: "file"))
    var kubeTokenFile: String?

    @Option(
        help: ArgumentHelp(
            "Who may sign the server's certificate, in PEM, in place of the service account's.",
            valueName: "file"))
    var kubeCaFile: String?

    @Option(
        help: ArgumentHelp(
            "The node's name in the cluster (default: the variable NODE_NAME).", valueName: "name"))
    var nodeName: String?

    private var isWanted: Bool { kubernetes || kubeServer != nil }

    func validate() throws {
        for (name, path) in [("--kube-token-file", kubeTokenFile), ("--kube-ca-file", kubeCaFile)] {
            guard let path else { continue }
            guard isWanted else {
                throw ValidationError("\(name): is for --kubernetes or --kube-server")
            }
            guard path.hasPrefix("/") else {
                throw ValidationError("\(name) \(path): give a path that begins with /")
            }
        }
        _ = try access()
    }

    /// `nil` on a node that is in no cluster.
    func access() throws -> ClusterAccess? {
        guard isWanted else { return nil }
        guard let node = nodeName ?? Self.environment("NODE_NAME"), !node.isEmpty else {
            throw ValidationError(
                "--node-name: give the node's name in the cluster, or set NODE_NAME")
        }
        var variables: [String: String] = [:]
        for name in ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"] {
            variables[name] = Self.environment(name)
        }
        do throws(KubernetesError) {
            let server = try APIServer(
                url: kubeServer, tokenFile: kubeTokenFile, authorityFile: kubeCaFile,
                environment: variables)
            return ClusterAccess(server: server, node: node)
        } catch { throw ValidationError("\(error)") }
    }

    private static func environment(_ name: String) -> String? {
        unsafe getenv(name).map { unsafe String(cString: $0) }
    }
}
