// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import RedirectionModel

/// Where a pod's peer is.
package enum Topology: String, Hashable, Sendable, Codable, CaseIterable {
    /// At the other end of the pod's own wire.
    case same
    /// In a pod of another node: two routers in between, each with a wire to either side.
    case across

    var routers: Int { self == .same ? 0 : 2 }
}

/// Namespaces in a row, each with a wire to the next, and routes from end to end.
///
/// Segment `s` joins the namespaces `s` and `s + 1`; the nearer one has host 2 there, the farther one
/// host 1. The networks of one wire have its number in them: 10.78.0.0 and fd4e:: onward.
struct BenchWire {
    let number: Int
    let hops: [NetworkNamespace]

    /// Makes all links, and gives them their addresses.
    func connect() throws(KernelError) {
        for segment in 0..<(hops.count - 1) { try connect(segment) }
        for index in hops.indices { try addRoutes(at: index) }
        for router in hops.dropFirst().dropLast() { try Self.makeRouter(router) }
    }

    static func address(
        _ number: Int, segment: Int, host: UInt32, _ family: AddressFamily
    ) -> IPAddress {
        switch family {
        case .ipv4:
            IPAddress(ipv4: 0x0a4e_0000 + UInt32(number) << 8 + UInt32(segment) << 6 + host)
        case .ipv6:
            IPAddress(
                bits: 0xfd4e << 112 | UInt128(number) << 96 | UInt128(segment) << 64
                    | UInt128(host))
        }
    }

    private static func prefixLength(_ family: AddressFamily) -> Int {
        family == .ipv4 ? 26 : 64
    }

    private func address(_ segment: Int, _ host: UInt32, _ family: AddressFamily) -> IPAddress {
        Self.address(number, segment: segment, host: host, family)
    }

    private func connect(_ segment: Int) throws(KernelError) {
        let near = segment == 0 ? "eth0" : "far"
        let far = segment == hops.count - 2 ? "eth0" : "near"
        var links = try RouteNetlink.open(in: hops[segment])
        try links.createVethPair(near, peer: far, in: hops[segment + 1])
        var farLinks = try RouteNetlink.open(in: hops[segment + 1])
        for family in AddressFamily.allCases {
            let length = Self.prefixLength(family)
            try links.addAddress(address(segment, 2, family), prefixLength: length, to: near)
            try farLinks.addAddress(address(segment, 1, family), prefixLength: length, to: far)
        }
        try links.setUp(near)
        try farLinks.setUp(far)
    }

    /// What is farther goes on; what is nearer, and not next to it, goes back.
    private func addRoutes(at index: Int) throws(KernelError) {
        let last = hops.count - 1
        var links = try RouteNetlink.open(in: hops[index])
        for family in AddressFamily.allCases {
            let gateway = index < last ? address(index, 1, family) : address(last - 1, 2, family)
            try links.addRoute(to: .all(family), via: gateway)
            guard index < last, index > 1 else { continue }
            for segment in 0..<(index - 1) {
                let network = CIDR(
                    address(segment, 0, family), prefixLength: Self.prefixLength(family))
                guard let network else { continue }
                try links.addRoute(to: network, via: address(index - 1, 2, family))
            }
        }
    }

    private static func makeRouter(_ namespace: NetworkNamespace) throws(KernelError) {
        try namespace.run { () throws(KernelError) in
            for name in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                try OwnedDescriptor.open("/proc/sys/net/" + name, .write).write("1")
            }
        }
    }
}
