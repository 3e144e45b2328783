// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// What is done, over and over, and timed.
package struct Scenario: Hashable, Sendable, Codable {
    package enum Kind: String, Hashable, Sendable, Codable, CaseIterable {
        /// Connections that the server closes: connect(2)'s latency, connections a second.
        case connect
        /// Requests and answers over connections that stay.
        case request
        /// As many bytes as one connection takes.
        case bulk
        /// Connections that the client closes, for longer, so that its ports come round again.
        case churn
        /// Name lookups over UDP, each from a socket of its own.
        case dns
    }

    package let kind: Kind
    package let direction: Direction
    /// Bytes of a request, and of its answer.
    package var size: Int
    package var connections: Int

    package init(_ kind: Kind, _ direction: Direction, size: Int = 0, connections: Int = 1) {
        self.kind = kind
        self.direction = direction
        self.size = size
        self.connections = connections
    }

    /// All that the options ask for, in the order of a report.
    package static func all(
        _ kinds: [Kind], _ directions: [Direction], sizes: [Int], connections: [Int]
    ) -> [Scenario] {
        kinds.flatMap { kind in
            directions.flatMap { direction -> [Scenario] in
                switch kind {
                case .connect, .bulk, .churn: [Scenario(kind, direction)]
                // A pod's lookups leave it.
                case .dns: direction == .outbound ? [Scenario(kind, direction)] : []
                case .request:
                    sizes.flatMap { size in
                        connections.map {
                            Scenario(kind, direction, size: size, connections: $0)
                        }
                    }
                }
            }
        }
    }

    /// `request outbound, 1024 B, 16 connections`.
    package var name: String {
        guard kind == .request else { return "\(kind) \(direction)" }
        let plural = connections == 1 ? "" : "s"
        return "\(kind) \(direction), \(size) B, \(connections) connection\(plural)"
    }

    /// How much longer than others it runs: ports must come round.
    var stretch: Double { kind == .churn ? 5 : 1 }

    /// How fast it goes: bytes of a stream, else operations.
    package var rateUnit: String {
        switch kind {
        case .connect, .churn: "connections/s"
        case .request: "requests/s"
        case .bulk: "Gbit/s"
        case .dns: "lookups/s"
        }
    }

    /// Whether a single operation's time says something.
    package var hasLatency: Bool { kind != .bulk }
}

extension Scenario.Kind {
    /// What connections are to, as `CTrafficLoad` serves it.
    var servicePort: UInt16 {
        switch self {
        case .connect: 9000
        case .request: 9001
        case .bulk: 9002
        case .churn: 9003
        case .dns: DNSCapture.domainPort
        }
    }
}
