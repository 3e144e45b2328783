// SPDX-License-Identifier: Apache-2.0

/// The families a policy speaks of.
package enum AddressFamily: String, Hashable, Sendable, Codable, CaseIterable {
    case ipv4
    case ipv6
}

/// An IPv4 or IPv6 address in one form: 128 bits, IPv4 as the mapped range `::ffff:0:0/96`.
///
/// An IPv4-mapped IPv6 address, what Java and dual-stack runtimes put into their sockets, *is*
/// an IPv4 address here (RFC 4291 §2.5.5.2), so no code can treat the two differently.
package struct IPAddress: Hashable, Sendable {
    // Two halves: Swift 6.3.1 keeps an optional argument that holds a UInt128 at half of the
    // alignment it then loads it with, and the program ends with SIGSEGV (debug builds).
    private let high: UInt64
    private let low: UInt64

    /// The address as a big-endian number.
    package var bits: UInt128 { UInt128(high) << 64 | UInt128(low) }

    package init(bits: UInt128) {
        high = UInt64(truncatingIfNeeded: bits >> 64)
        low = UInt64(truncatingIfNeeded: bits)
    }

    /// Makes the IPv4 address whose big-endian number is `ipv4`.
    package init(ipv4: UInt32) { self.init(bits: Self.mappedPrefix | UInt128(ipv4)) }

    /// Makes an address from its 16 bytes in network order.
    package init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 16 else { return nil }
        self.init(bits: bytes.reduce(0) { $0 << 8 | UInt128($1) })
    }

    private static let mappedPrefix: UInt128 = 0xffff << 32

    package var family: AddressFamily { bits >> 32 == 0xffff ? .ipv4 : .ipv6 }

    /// The address in 16 bytes, network order, IPv4 mapped.
    package var bytes: [UInt8] {
        (0..<16).map { UInt8(truncatingIfNeeded: bits >> (120 - 8 * $0)) }
    }

    /// The last 32 bits; an IPv4 address's own number.
    package var ipv4: UInt32 { UInt32(truncatingIfNeeded: bits) }

    /// True for `127.0.0.0/8` (RFC 1122 §3.2.1.3) and `::1` (RFC 4291 §2.5.3).
    package var isLoopback: Bool { family == .ipv4 ? ipv4 >> 24 == 127 : bits == 1 }

    /// True for `0.0.0.0` and `::`, which connect(2) takes for loopback.
    package var isUnspecified: Bool { family == .ipv4 ? ipv4 == 0 : bits == 0 }

    /// The address the redirected connection is sent to.
    package static func loopback(_ family: AddressFamily) -> IPAddress {
        family == .ipv4 ? IPAddress(ipv4: 0x7f00_0001) : IPAddress(bits: 1)
    }
}

extension IPAddress: Comparable {
    package static func < (left: IPAddress, right: IPAddress) -> Bool { left.bits < right.bits }
}

extension IPAddress: CustomStringConvertible {
    package var description: String {
        family == .ipv4 ? IPv4Text.render(ipv4) : IPv6Text.render(bits)
    }
}

extension IPAddress: LosslessStringConvertible {
    /// Reads dotted-quad IPv4 or RFC 4291 IPv6 text; `nil` when it is neither.
    package init?(_ text: String) {
        if let ipv4 = IPv4Text.parse(text) {
            self.init(ipv4: ipv4)
        } else if let bits = IPv6Text.parse(text) {
            self.init(bits: bits)
        } else {
            return nil
        }
    }
}
