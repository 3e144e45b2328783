// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// What programs could observe of an attempt.
package enum Outcome: Hashable, Sendable {
    /// Somebody accepted.
    case accepted(Acceptance)
    /// The connection was answered with a refusal.
    case refused
    /// Nobody accepted and nobody refused.
    case dropped
    /// What was expected, and a counter that says something else, in words.
    case miscounted(String)
    /// Something that no plan asks for, in words.
    case strange(String)

    /// Whether this, expected, is what was observed.
    ///
    /// What is dropped is accepted by nobody. How its client hears of that is the mechanism's:
    /// not at all, by a refusal, or by an error at once.
    package func isMet(by observed: Outcome) -> Bool {
        self == observed || self == .dropped && observed == .refused
    }
}

/// An accepted connection, or an answered datagram.
package struct Acceptance: Hashable, Sendable {
    /// Whose socket took it, by where it was listening.
    package var site: Site
    package var port: UInt16
    /// Where the acceptor believes that it was going: SO_ORIGINAL_DST, else its own address.
    ///
    /// A datagram has none when it was redirected.
    package var origin: Endpoint?
    /// The address the acceptor saw it come from.
    package var source: IPAddress
    /// How that, port included, differs from what the client's own getsockname(2) says.
    package var mistake: String?
    /// What the client takes for its peer: getpeername(2), or where a datagram's answer came from.
    package var peer: Endpoint

    package init(
        site: Site, port: UInt16, origin: Endpoint?, source: IPAddress, mistake: String? = nil,
        peer: Endpoint
    ) {
        self.site = site
        self.port = port
        self.origin = origin
        self.source = source
        self.mistake = mistake
        self.peer = peer
    }
}

extension Trial {
    /// What must be observed of an attempt.
    package func expectedOutcome(of attempt: Attempt) -> Outcome {
        outcome(of: attempt, under: plan.verdict(for: flow(of: attempt)))
    }

    /// What is observed of an attempt under a verdict, in terms of who accepts.
    package func outcome(of attempt: Attempt, under verdict: Verdict) -> Outcome {
        // What connect(2) makes of the unspecified address it says, too.
        let flow = attempt.flow.settled
        let destination = flow.destination
        var acceptance = Acceptance(
            site: .pod, port: destination.port, origin: destination,
            source: flow.source.address, peer: destination)
        switch verdict.action {
        case .drop: return .dropped
        case .redirectOutbound(let port), .redirectInbound(let port), .redirectDNS(let port):
            acceptance.port = port
            acceptance.peer = redirectedPeer(of: attempt, at: port)
            if flow.protocol != .tcp { acceptance.origin = nil }
        case .pass:
            acceptance.site = World.site(of: destination.address, from: attempt.origin)
        }
        return .accepted(acceptance)
    }
}

extension World {
    /// Who has `address`, as the one who asks sees it: each has a loopback of its own.
    package static func site(of address: IPAddress, from origin: Site) -> Site {
        if address.isLoopback { return origin }
        let isPods = interface(towards: address) == "lo" || bridgeAddresses.has(address)
        return isPods ? .pod : guestAddresses.has(address) ? .guest : .peer
    }
}

extension Outcome: CustomStringConvertible {
    package var description: String {
        switch self {
        case .accepted(let acceptance): "\(acceptance)"
        case .refused: "refused"
        case .dropped: "dropped"
        case .miscounted(let text): "as expected, but \(text)"
        case .strange(let text): text
        }
    }
}

extension Acceptance: CustomStringConvertible {
    package var description: String {
        """
        accepted by \(site):\(port), origin \(origin.map { "\($0)" } ?? "none"), source \(source)\
        \(mistake.map { " (" + $0 + ")" } ?? ""), peer \(peer)
        """
    }
}
