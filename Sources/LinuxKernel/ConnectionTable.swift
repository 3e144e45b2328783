// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// A TCP socket as the namespace's own table lists it, proc(5).
package struct TCPConnection: Hashable, Sendable {
    package let local: Endpoint
    package let remote: Endpoint
    package let state: State

    /// The kernel's numbers, `include/net/tcp_states.h`.
    package struct State: RawRepresentable, Hashable, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }

        package static let established = State(rawValue: 1)
        package static let synReceived = State(rawValue: 3)
        package static let timeWait = State(rawValue: 6)
        package static let closed = State(rawValue: 7)
        package static let listening = State(rawValue: 10)

        /// Whether either end may have something to say still.
        package var isAlive: Bool { ![.timeWait, .closed, .listening].contains(self) }
    }

    /// Reads a line of `/proc/net/tcp` or `/proc/net/tcp6`; `nil` for its heading.
    package init?(line: Substring) {
        let fields = line.split(separator: " ")
        guard fields.count > 3, let local = Self.endpoint(fields[1]),
            let remote = Self.endpoint(fields[2]), let state = UInt8(fields[3], radix: 16)
        else { return nil }
        self.local = local
        self.remote = remote
        self.state = State(rawValue: state)
    }

    /// `0100007F:1F90`: words in the machine's order of bytes, a port in ours.
    private static func endpoint(_ text: Substring) -> Endpoint? {
        let parts = text.split(separator: ":")
        guard parts.count == 2, let port = UInt16(parts[1], radix: 16),
            parts[0].count == 8 || parts[0].count == 32
        else { return nil }
        var bits: UInt128 = 0
        var rest = parts[0]
        while !rest.isEmpty {
            guard let word = UInt32(rest.prefix(8), radix: 16) else { return nil }
            bits = bits << 32 | UInt128(UInt32(bigEndian: word))
            rest = rest.dropFirst(8)
        }
        let address =
            parts[0].count == 8 ? IPAddress(ipv4: UInt32(truncatingIfNeeded: bits)) : nil
        return Endpoint(address ?? IPAddress(bits: bits), port)
    }
}

extension NetworkNamespace {
    /// The TCP sockets of both families, those that are being accepted included.
    package func connections() throws(KernelError) -> [TCPConnection] {
        var found: [TCPConnection] = []
        for name in ["tcp", "tcp6"] {
            let table = try run { () throws(KernelError) in
                try readFile("/proc/thread-self/net/\(name)")
            }
            found += table.split(separator: "\n").compactMap { TCPConnection(line: $0) }
        }
        return found
    }
}
