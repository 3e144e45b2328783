// SPDX-License-Identifier: Apache-2.0

/// A flow as somebody asks about it: what is not said is what is likely.
package struct FlowQuestion: Hashable, Sendable {
    package var direction: Direction
    package var `protocol` = TransportProtocol.tcp
    package var to: Endpoint
    /// One of the workload's addresses, or a stranger's where the flow arrives.
    package var from: Endpoint?
    package var uid: UInt32 = 1000
    /// The uid's number.
    package var gid: UInt32?
    package var interface = "eth0"

    package init(_ direction: Direction, to: Endpoint) {
        self.direction = direction
        self.to = to
    }

    /// The flow, of a workload with these addresses.
    package func flow(ownAddresses: Set<IPAddress>) -> Flow {
        let family = to.address.family
        let own =
            to.address.isLoopback || to.address.isUnspecified
            ? .loopback(family) : ownAddresses.sorted().first { $0.family == family }
        let stranger = IPAddress(family == .ipv4 ? "192.0.2.1" : "2001:db8::1")
        let source = (direction == .inbound ? stranger : own) ?? .loopback(family)
        return Flow(
            direction, `protocol`, from: from ?? Endpoint(source, 40_000), to: to,
            owner: direction == .inbound ? nil : Owner(uid: uid, gid: gid ?? uid),
            interface: interface)
    }
}

extension Flow {
    /// `outbound tcp 10.0.0.2:40000 -> 192.0.2.7:80 by eth0, uid 1000, gid 1000`.
    package var sentence: String {
        let way = direction == .outbound ? "by" : "on"
        let who = owner.map { ", uid \($0.uid), gid \($0.gid)" } ?? ""
        return "\(direction.rawValue) \(`protocol`.rawValue) \(source) -> \(destination) "
            + "\(way) \(interface)\(who)"
    }
}
