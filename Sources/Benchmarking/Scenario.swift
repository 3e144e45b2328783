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
    package var family: AddressFamily
    package var topology: Topology

    package init(
        _ kind: Kind, _ direction: Direction, size: Int = 0, connections: Int = 1,
        _ family: AddressFamily = .ipv4, _ topology: Topology = .same
    ) {
        self.kind = kind
        self.direction = direction
        self.size = size
        self.connections = connections
        self.family = family
        self.topology = topology
    }

    /// All that the options ask for, in the order of a report.
    package static func all(
        _ kinds: [Kind], _ directions: [Direction] = Direction.allCases,
        families: [AddressFamily] = [.ipv4], topologies: [Topology] = [.same],
        sizes: [Int] = [1], connections: [Int] = [1]
    ) -> [Scenario] {
        topologies.flatMap { topology in
            families.flatMap { family in
                kinds.flatMap { kind in
                    directions.flatMap { direction in
                        all(kind, direction, sizes, connections, family, topology)
                    }
                }
            }
        }
    }

    private static func all(
        _ kind: Kind, _ direction: Direction, _ sizes: [Int], _ connections: [Int],
        _ family: AddressFamily, _ topology: Topology
    ) -> [Scenario] {
        // A pod's lookups leave it.
        if kind == .dns, direction == .inbound { return [] }
        guard kind == .request else { return [Scenario(kind, direction, family, topology)] }
        return sizes.flatMap { size in
            connections.map {
                Scenario(kind, direction, size: size, connections: $0, family, topology)
            }
        }
    }

    /// `request outbound, 1024 B, 16 connections, IPv6, across nodes`.
    package var name: String {
        var parts = ["\(kind) \(direction)"]
        if kind == .request {
            parts += ["\(size) B", "\(connections) connection\(connections == 1 ? "" : "s")"]
        }
        if family == .ipv6 { parts.append("IPv6") }
        if topology == .across { parts.append("across nodes") }
        return parts.joined(separator: ", ")
    }

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
