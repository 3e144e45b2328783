// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// The small world that policies and flows are drawn from: so few values that they meet often,
/// and each list's edges among them.
///
/// The pod has the interfaces `eth0` and `eth1`, both ending at the peer, which has every address
/// of `peerNetworks` and listens on every one of `ports`. A guest stands behind the pod's bridge.
package enum World {
    /// Where the workload is: on both interfaces, so that it has one address a family.
    package static let podAddresses = Addresses("172.31.0.2", "fc00:77::2")
    /// What the workload has besides when it is multi-homed.
    package static let secondAddresses = Addresses("172.31.0.3", "fc00:77::3")
    package static let gatewayAddresses = Addresses("172.31.0.1", "fc00:77::1")
    package static let podPrefixLengths: [AddressFamily: Int] = [.ipv4: 24, .ipv6: 64]
    package static let bridgeAddresses = Addresses("172.30.0.1", "fc00:78::1")
    package static let guestAddresses = Addresses("172.30.0.9", "fc00:78::9")
    package static let guestNetworks = cidrs("172.30.0.0/24", "fc00:78::/64")
    package static let bridge = "br0"
    package static let interfaces = ["eth0", "eth1"]

    /// What a sidecar may use for nothing but handing on; given to the pod's loopback.
    package static let passthroughSources = Addresses("127.0.0.6", "fc00:79::6")
    package static let loopbackAddresses = addresses(
        "127.0.0.1", "127.0.0.53", "127.200.3.4", "::1")
    package static let unspecifiedAddresses = addresses("0.0.0.0", "::")

    /// All that the peer answers for; those of `farNetworks` are reached through `eth1`.
    package static let peerNetworks = cidrs(
        "10.0.0.0/8", "11.0.0.0/8", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",
        "fd00::/8", "2001:db8::/32")
    package static let farNetworks = cidrs("198.51.100.0/24", "2001:db8:1::/48")

    /// The networks policies speak of.
    package static let networks = cidrs(
        "0.0.0.0/0", "0.0.0.0/1", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.128/25",
        "10.1.2.3/32", "192.0.2.0/24", "198.51.100.0/24", "198.51.100.64/26", "203.0.113.53/32",
        "127.0.0.0/8", "172.31.0.0/24", "::/0", "8000::/1", "fd00::/8", "fd00:1::/32",
        "fd00:1:2::/48", "fd00:1:2::3/128", "2001:db8::/32", "2001:db8:1::/48",
        "2001:db8:1:8000::/49", "fc00:77::/64")

    /// The peer's addresses that flows go to and come from: the edges of the networks.
    package static let remoteAddresses = addresses(
        "10.0.255.255", "10.1.0.0", "10.1.1.255", "10.1.2.0", "10.1.2.2", "10.1.2.3", "10.1.2.4",
        "10.1.2.127", "10.1.2.128", "10.1.2.255", "10.1.3.0", "10.2.0.0", "11.0.0.1",
        "192.0.2.7", "198.51.100.63", "198.51.100.64", "198.51.100.127", "198.51.100.128",
        "203.0.113.52", "203.0.113.53", "fd00::1", "fd00:0:ffff::1", "fd00:1::1",
        "fd00:1:1:ffff:ffff:ffff:ffff:ffff", "fd00:1:2::2", "fd00:1:2::3", "fd00:1:2::4",
        "fd00:1:3::1", "fdff::1", "2001:db8::7", "2001:db8:1::1",
        "2001:db8:1:7fff:ffff:ffff:ffff:ffff", "2001:db8:1:8000::1", "2001:db8:2::1")

    /// Resolvers that DNS capture may be limited to.
    package static let resolvers = addresses(
        "203.0.113.53", "10.1.2.3", "127.0.0.53", "fd00:1:2::3", "2001:db8:1::1", "::1")

    /// The ports flows go to; ranges begin and end at them and next to them.
    package static let ports: [UInt16] = [
        22, 53, 79, 80, 81, 443, 7999, 8000, 8001, 8080, 9000, 15001, 15003, 15006, 15010, 15053,
        15902, 65535,
    ]

    /// From where lookups are made one after the other; nothing listens there.
    static let askingPort: UInt16 = 20_053

    package static let ids: [UInt32] = [0, 1000, 1001, 1500, 1501, 1502, 10_001, 65_534]

    /// Where a flow to `address` leaves the pod, or arrives.
    package static func interface(towards address: IPAddress) -> String {
        if address.isLoopback || address.isUnspecified { return "lo" }
        if [podAddresses, secondAddresses, passthroughSources].contains(where: { $0.has(address) })
        {
            return "lo"
        }
        if guestNetworks.contains(where: { $0.contains(address) }) { return bridge }
        return farNetworks.contains { $0.contains(address) } ? "eth1" : "eth0"
    }

    /// One address a family.
    package struct Addresses: Sendable {
        package let ipv4: IPAddress
        package let ipv6: IPAddress

        fileprivate init(_ ipv4: String, _ ipv6: String) {
            self.ipv4 = parse(ipv4, IPAddress.init)
            self.ipv6 = parse(ipv6, IPAddress.init)
        }

        package subscript(family: AddressFamily) -> IPAddress { family == .ipv4 ? ipv4 : ipv6 }
        package var both: Set<IPAddress> { [ipv4, ipv6] }
        package func has(_ address: IPAddress) -> Bool { address == ipv4 || address == ipv6 }
    }

    private static func addresses(_ texts: String...) -> [IPAddress] {
        texts.map { parse($0, IPAddress.init) }
    }

    private static func cidrs(_ texts: String...) -> [CIDR] { texts.map { parse($0, CIDR.init) } }

    private static func parse<Value>(_ text: String, _ read: (String) -> Value?) -> Value {
        guard let value = read(text) else { preconditionFailure("\(text) in the world's lists") }
        return value
    }
}

extension [IPAddress] {
    func of(_ family: AddressFamily) -> [IPAddress] { filter { $0.family == family } }
}
