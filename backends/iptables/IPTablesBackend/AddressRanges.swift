// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// Addresses of one family, held as the fewest ranges that cover them, in order.
package struct AddressRanges: Hashable, Sendable {
    package let family: AddressFamily
    /// Disjoint, ascending, and never adjacent to each other.
    package let ranges: [ClosedRange<IPAddress>]

    /// Takes those of `networks` that are of `family`.
    package init(_ family: AddressFamily, of networks: some Sequence<CIDR>) {
        self.family = family
        var merged: [ClosedRange<IPAddress>] = []
        for network in networks.filter({ $0.family == family }).sorted() {
            let (first, end) = (network.network, network.last)
            guard let last = merged.last, last.upperBound.touches(first) else {
                merged.append(first...end)
                continue
            }
            merged[merged.count - 1] = last.lowerBound...max(last.upperBound, end)
        }
        ranges = merged
    }

    /// Takes one range of addresses of `family`.
    init(_ family: AddressFamily, _ range: ClosedRange<IPAddress>) {
        self.family = family
        ranges = [range]
    }

    package var isEmpty: Bool { ranges.isEmpty }

    /// True when no address of the family is left out.
    package var isEverything: Bool {
        let all = CIDR.all(family)
        return ranges == [all.network...all.last]
    }

    package func contains(_ address: IPAddress) -> Bool {
        address.family == family && ranges.contains { $0.contains(address) }
    }

    /// The fewest networks that cover the same addresses, in order.
    package var networks: [CIDR] { ranges.flatMap { Self.networks(of: $0, family) } }

    /// Cuts a range into networks: each the largest that starts here and does not overshoot.
    private static func networks(
        of range: ClosedRange<IPAddress>, _ family: AddressFamily
    ) -> [CIDR] {
        let width = family == .ipv4 ? 32 : 128
        var networks: [CIDR] = []
        var next = range.lowerBound
        while true {
            var bits = min(next.bits.trailingZeroBitCount, width)
            while bits > 0, next.last(ofBits: bits) > range.upperBound { bits -= 1 }
            guard let network = CIDR(next, prefixLength: width - bits) else { return networks }
            networks.append(network)
            guard network.last < range.upperBound else { return networks }
            next = IPAddress(bits: network.last.bits + 1)
        }
    }
}

extension IPAddress {
    /// True when `other` lies at most one address above.
    fileprivate func touches(_ other: IPAddress) -> Bool {
        other.bits <= bits || other.bits - bits == 1
    }

    /// The last address that differs only in the lowest `count` bits.
    fileprivate func last(ofBits count: Int) -> IPAddress {
        IPAddress(bits: bits | (count == 128 ? ~0 : ~(~0 << count)))
    }
}
