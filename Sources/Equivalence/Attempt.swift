// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// Something a program tries: a connection, or a datagram and its answer.
package struct Attempt: Hashable, Sendable {
    /// What the plan is asked about; a source port of zero is the kernel's to choose.
    package var flow: Flow
    /// Where the program is.
    package var origin: Site
    /// Whether an IPv4 destination is written into an IPv6 socket, as Java does.
    package var isMapped = false
    /// Whether the source is bound before the connection, rather than chosen by the kernel.
    package var isBound = false
    /// Whether connect(2) returns before the connection stands.
    package var isNonBlocking = false
    /// Whether a UDP socket is connected, rather than told the destination with each datagram.
    package var isConnected = false
    /// Who connects, when it is not who created the socket.
    package var connector: Owner?

    package init(_ flow: Flow, from origin: Site) {
        self.flow = flow
        self.origin = origin
    }
}

/// Where programs run.
package enum Site: String, Hashable, Sendable, CaseIterable {
    case pod
    case peer
    case guest
}

extension Attempt: CustomStringConvertible {
    package var description: String {
        let owner = flow.owner.map { " by \($0.uid):\($0.gid)" } ?? ""
        let connector = connector.map { " connected by \($0.uid):\($0.gid)" } ?? ""
        let source = flow.source.port == 0 ? "\(flow.source.address)" : "\(flow.source)"
        let traits = [
            (isMapped, "mapped"), (isBound, "bound"), (isNonBlocking, "non-blocking"),
            (isConnected, "connected"),
        ].filter(\.0).map { " " + $0.1 }.joined()
        return """
            \(flow.direction) \(flow.protocol) \(source) -> \(flow.destination) \
            at \(flow.interface)\(owner)\(connector)\(traits)
            """
    }
}

/// A policy and what is tried under it.
package struct Trial: Hashable, Sendable {
    package var plan: RedirectionPlan
    package var attempts: [Attempt]
    /// Whether the sidecar listens before the plan is applied.
    package var listensFirst = false
    /// What is expected to differ from the model, for whoever carries it out.
    package var deviations: Set<Deviation> = []

    package init(plan: RedirectionPlan, attempts: [Attempt]) {
        self.plan = plan
        self.attempts = attempts
    }
}
