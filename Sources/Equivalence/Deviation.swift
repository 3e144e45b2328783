// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// A difference from the model that a subject declares, and is then held to: it must be there.
package enum Deviation: String, Hashable, Sendable, CaseIterable {
    /// The application that asks for its peer is told the sidecar's address.
    case peerIsSidecar = "the peer of a redirected connection is the sidecar"
    /// The owner of a socket is who connects it, or sends from it, not who made it.
    case connectorOwns = "the owner is who connects"
}

extension Trial {
    /// The flow as the subject is to judge it.
    package func flow(of attempt: Attempt) -> Flow {
        var flow = attempt.flow
        if deviations.contains(.connectorOwns), let connector = attempt.connector {
            flow.owner = connector
        }
        return flow
    }

    /// What the application is to be told of its peer when it is redirected to the sidecar's `port`.
    func redirectedPeer(of attempt: Attempt, at port: UInt16) -> Endpoint {
        let destination = attempt.flow.settled.destination
        // The answer to a datagram says whom it is from by itself; a connection has to be asked.
        let isConnected = attempt.flow.protocol == .tcp || attempt.isConnected
        guard deviations.contains(.peerIsSidecar), attempt.flow.direction == .outbound, isConnected
        else { return destination }
        return Endpoint(.loopback(destination.address.family), port)
    }
}
