// SPDX-License-Identifier: Apache-2.0

/// Where the API server is, and by what we and it know each other.
package struct APIServer: Hashable, Sendable {
    /// Where kubelet puts what a pod's service account has.
    package static let serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

    /// `https://10.96.0.1:443`, without a path.
    package let url: String
    package let tokenFile: String
    /// The certificates of who may sign the server's, in PEM.
    package let authorityFile: String

    /// What is not given is as in a cluster.
    package init(
        url: String? = nil, tokenFile: String? = nil, authorityFile: String? = nil,
        environment: [String: String] = [:]
    ) throws(KubernetesError) {
        if let url {
            self.url = try Self.checked(url)
        } else {
            self.url = try Self.service(environment)
        }
        self.tokenFile = tokenFile ?? Self.serviceAccount + "/token"
        self.authorityFile = authorityFile ?? Self.serviceAccount + "/ca.crt"
    }

    private static func service(_ environment: [String: String]) throws(KubernetesError) -> String {
        var parts: [String] = []
        for name in ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"] {
            guard let value = environment[name], !value.isEmpty else {
                throw .notInCluster(missing: name)
            }
            parts.append(value)
        }
        let host = parts[0].contains(":") ? "[\(parts[0])]" : parts[0]
        return try checked("https://\(host):\(parts[1])")
    }

    /// A token is sent to nobody whose name is not proven.
    private static func checked(_ url: String) throws(KubernetesError) -> String {
        let scheme = "https://"
        guard url.hasPrefix(scheme) else {
            throw .unusable(server: url, because: "give an address that begins with \(scheme)")
        }
        let rest = url.dropFirst(scheme.count)
        let host = rest.hasSuffix("/") ? rest.dropLast() : rest
        guard !host.isEmpty, !host.contains(where: { "/?#@ ".contains($0) }) else {
            throw .unusable(server: url, because: "give a host and a port alone")
        }
        return scheme + host
    }
}
