// SPDX-License-Identifier: Apache-2.0

/// What the API server said, or why it could not be asked.
package enum KubernetesError: Error, Hashable, Sendable {
    /// Nothing says where the API server is.
    case notInCluster(missing: String)
    case unusable(server: String, because: String)
    case unreadable(file: String, because: String)
    /// No connection, or one that ended: refused, reset, a certificate of somebody else's.
    case unreachable(String)
    /// Nothing came for so long.
    case silent(Duration)
    case refused(status: Int, message: String)
    /// The version asked for is too old: what is there has to be listed again.
    case gone(String)
    case malformed(String)
    case tooLarge(String, limit: Int)
}

extension KubernetesError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .notInCluster(let variable):
            "\(variable) is not set, as it is in a cluster: give --kube-server, --kube-token-file "
                + "and --kube-ca-file"
        case .unusable(let server, let reason): "\(server): \(reason)"
        case .unreadable(let file, let reason): "\(file): \(reason)"
        case .unreachable(let reason): "the API server cannot be reached: \(reason)"
        case .silent(let time): "the API server has said nothing for \(time)"
        case .refused(let status, let message): "the API server says \(status): \(message)"
        case .gone(let message): "the API server has forgotten what we know: \(message)"
        case .malformed(let reason): "the API server's answer cannot be read: \(reason)"
        case .tooLarge(let what, let limit): "\(what) has more than \(limit) bytes"
        }
    }
}
