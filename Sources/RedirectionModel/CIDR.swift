// SPDX-License-Identifier: Apache-2.0

/// A network of one family: `10.0.0.0/8`, `2001:db8::/32`, `0.0.0.0/0`.
///
/// `::/0` is every IPv6 address and no IPv4 one, although IPv4 lies inside it as mapped
/// addresses: a network never crosses the family line.
package struct CIDR: Hashable, Sendable {
    /// The first address; host bits are zero.
    package let network: IPAddress
    /// The prefix length within the family: 0...32 or 0...128.
    package let prefixLength: Int

    /// Makes a network, or `nil` when the prefix is longer than the family's address.
    ///
    /// Host bits are cleared, as ip(8) and iptables(8) do.
    package init?(_ address: IPAddress, prefixLength: Int) {
        let width = address.family == .ipv4 ? 32 : 128
        guard (0...width).contains(prefixLength) else { return nil }
        let hostBits = width - prefixLength
        let mask: UInt128 = hostBits == 128 ? 0 : ~0 << hostBits
        network = IPAddress(bits: address.bits & mask)
        self.prefixLength = prefixLength
        guard network.family == address.family else { return nil }
    }

    /// The network of one address.
    package init(_ address: IPAddress) {
        network = address
        prefixLength = address.family == .ipv4 ? 32 : 128
    }

    package var family: AddressFamily { network.family }

    /// The prefix length counted over the 128-bit form: 96 more for IPv4.
    package var mappedPrefixLength: Int { prefixLength + (family == .ipv4 ? 96 : 0) }

    /// The last address of the network.
    package var last: IPAddress {
        let hostBits = 128 - mappedPrefixLength
        return IPAddress(bits: network.bits | (hostBits == 128 ? ~0 : ~(~0 << hostBits)))
    }

    package func contains(_ address: IPAddress) -> Bool {
        address.family == family && (network...last).contains(address)
    }

    package func contains(_ other: CIDR) -> Bool {
        other.family == family && other.prefixLength >= prefixLength && contains(other.network)
    }

    /// Every address of the family.
    package static func all(_ family: AddressFamily) -> CIDR {
        CIDR(unchecked: IPAddress(bits: family == .ipv4 ? 0xffff << 32 : 0), prefixLength: 0)
    }

    private init(unchecked network: IPAddress, prefixLength: Int) {
        self.network = network
        self.prefixLength = prefixLength
    }
}

extension CIDR: CustomStringConvertible {
    package var description: String { "\(network)/\(prefixLength)" }
}

extension CIDR: LosslessStringConvertible {
    /// Reads `address/length`, or a bare address as a network of one.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard let address = parts.first.flatMap({ IPAddress(String($0)) }) else { return nil }
        guard parts.count > 1 else {
            self.init(address)
            return
        }
        guard parts.count == 2, parts[1].utf8.allSatisfy({ (48...57).contains($0) }),
            let length = Int(parts[1])
        else { return nil }
        self.init(address, prefixLength: length)
    }
}

extension CIDR: Comparable {
    package static func < (left: CIDR, right: CIDR) -> Bool {
        (left.network, left.prefixLength) < (right.network, right.prefixLength)
    }
}

extension Set<CIDR> {
    /// True when each of them lies within one of `covers`.
    ///
    /// Sorts and merges: a pod's annotations may list tens of thousands.
    func lieWithin(_ covers: Set<CIDR>) -> Bool {
        AddressFamily.allCases.allSatisfy { family in
            // A network sorts before those within it, so these are disjoint, and in order.
            var outermost: [CIDR] = []
            for cover in covers.filter({ $0.family == family }).sorted() {
                if let last = outermost.last, last.contains(cover) { continue }
                outermost.append(cover)
            }
            var next = 0
            return filter { $0.family == family }.sorted().allSatisfy { network in
                while next < outermost.count, outermost[next].last < network.network { next += 1 }
                return next < outermost.count && outermost[next].contains(network)
            }
        }
    }
}
