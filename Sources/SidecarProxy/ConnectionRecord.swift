// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// What one end of the lab saw of one connection: a line of JSON in the lab's record.
package struct ConnectionRecord: Hashable, Sendable, Codable {
    /// Who saw it.
    package enum Role: String, Hashable, Sendable, Codable, CaseIterable {
        /// The sidecar, for a connection that leaves the pod.
        case outbound
        /// The sidecar, for a connection that enters the pod.
        case inbound
        /// The application.
        case app
    }

    package var role: Role
    package var pod: String
    /// The source address it saw, getpeername(2).
    package var peer: Endpoint?
    /// The destination it was told, SO_ORIGINAL_DST; sidecars only.
    package var origin: Endpoint?
    /// Where it connected to, and from which address.
    package var connectedTo: Endpoint?
    package var connectedFrom: Endpoint?
    /// Bytes passed on towards the origin, and back.
    package var sent = 0
    package var received = 0
    /// Why the connection was not carried to its end.
    package var error: String?

    package init(_ role: Role, pod: String, peer: Endpoint?) {
        self.role = role
        self.pod = pod
        self.peer = peer
    }
}
