// SPDX-License-Identifier: Apache-2.0

/// Which way a flow goes, seen from the workload.
package enum Direction: String, Hashable, Sendable, Codable, CaseIterable {
    case outbound
    case inbound
}

/// A transport protocol the model tells apart.
package enum TransportProtocol: String, Hashable, Sendable, Codable, CaseIterable {
    case tcp
    case udp
}

extension TransportProtocol: Comparable {
    package static func < (one: TransportProtocol, other: TransportProtocol) -> Bool {
        one.rawValue < other.rawValue
    }
}

/// An address and a port.
package struct Endpoint: Hashable, Sendable {
    package var address: IPAddress
    package var port: UInt16

    package init(_ address: IPAddress, _ port: UInt16) {
        self.address = address
        self.port = port
    }
}

extension Endpoint: LosslessStringConvertible {
    /// `192.0.2.1:80`, `[2001:db8::1]:80`.
    package var description: String {
        address.family == .ipv4 ? "\(address):\(port)" : "[\(address)]:\(port)"
    }

    /// Reads the form `description` writes.
    package init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"),
            let port = UInt16(text[text.index(after: colon)...])
        else { return nil }
        var host = text[..<colon]
        if host.first == "[", host.last == "]" { host = host.dropFirst().dropLast() }
        guard let address = IPAddress(String(host)) else { return nil }
        self.init(address, port)
    }
}

/// The user and group a socket was created with.
package struct Owner: Hashable, Sendable {
    package var uid: UInt32
    package var gid: UInt32

    package init(uid: UInt32, gid: UInt32) {
        self.uid = uid
        self.gid = gid
    }
}

/// Everything a verdict may depend on.
package struct Flow: Hashable, Sendable {
    package var direction: Direction
    package var `protocol`: TransportProtocol
    package var source: Endpoint
    package var destination: Endpoint
    /// Who created the sending socket; `nil` inbound, where nobody here did.
    package var owner: Owner?
    /// The interface the packet arrives on or would leave by.
    package var interface: String

    package init(
        _ direction: Direction, _ protocol: TransportProtocol = .tcp, from source: Endpoint,
        to destination: Endpoint, owner: Owner? = nil, interface: String = "eth0"
    ) {
        self.direction = direction
        self.protocol = `protocol`
        self.source = source
        self.destination = destination
        self.owner = owner
        self.interface = interface
    }
}

extension Flow {
    /// The flow as the kernel sends it.
    ///
    /// The unspecified address is nobody's. For IPv4 connect(2) and sendto(2) go to the socket's
    /// own source instead, which is loopback where none was chosen; for IPv6 to loopback, IPv4's
    /// where the source is a mapped address.
    package var settled: Flow {
        guard destination.address.isUnspecified else { return self }
        let family = destination.address.family
        let isChosen = family == .ipv4 && !source.address.isUnspecified
        let isMapped = source.address.family == .ipv4 && !source.address.isUnspecified
        var flow = self
        flow.destination.address =
            isChosen ? source.address : .loopback(isMapped ? .ipv4 : family)
        return flow
    }
}
