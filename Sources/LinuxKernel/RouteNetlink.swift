// SPDX-License-Identifier: Apache-2.0

internal import CLibMNL
package import RedirectionModel
internal import SystemPackage

/// Links, addresses and routes of one namespace, rtnetlink(7).
package struct RouteNetlink: ~Copyable {
    var socket: NetlinkSocket

    package static func open(in namespace: NetworkNamespace) throws(KernelError) -> RouteNetlink {
        RouteNetlink(socket: try NetlinkSocket.open(.route, in: namespace))
    }

    static let change = NLM_F_REQUEST | NLM_F_ACK
    static let create = change | NLM_F_CREATE | NLM_F_EXCL

    // MARK: Links

    /// Makes a veth(4) pair: one end here, the other in `peerNamespace`.
    package mutating func createVethPair(
        _ name: String, peer: String, in peerNamespace: NetworkNamespace
    ) throws(KernelError) {
        var message = NetlinkMessage(RTM_NEWLINK, flags: Self.create)
        message.add(header: ifinfomsg())
        message.add(IFLA_IFNAME, name)
        message.nest(IFLA_LINKINFO) { info in
            info.add(IFLA_INFO_KIND, "veth")
            info.nest(IFLA_INFO_DATA) { data in
                data.nest(VETH_INFO_PEER) { other in
                    other.add(header: ifinfomsg())
                    other.add(IFLA_IFNAME, peer)
                    other.add(IFLA_NET_NS_FD, UInt32(peerNamespace.rawDescriptor))
                }
            }
        }
        try socket.request(message, "create veth \(name)")
    }

    /// Makes a bridge.
    package mutating func createBridge(_ name: String) throws(KernelError) {
        var message = NetlinkMessage(RTM_NEWLINK, flags: Self.create)
        message.add(header: ifinfomsg())
        message.add(IFLA_IFNAME, name)
        message.nest(IFLA_LINKINFO) { $0.add(IFLA_INFO_KIND, "bridge") }
        try socket.request(message, "create bridge \(name)")
    }

    /// Brings the interface up.
    package mutating func setUp(_ name: String) throws(KernelError) {
        var message = NetlinkMessage(RTM_NEWLINK, flags: Self.change)
        var header = ifinfomsg()
        header.ifi_flags = UInt32(bitPattern: Int32(clibmnl_iff_up))
        header.ifi_change = header.ifi_flags
        message.add(header: header)
        message.add(IFLA_IFNAME, name)
        try socket.request(message, "set \(name) up")
    }

    /// Puts the interface into a bridge.
    package mutating func setMaster(_ name: String, _ bridge: String) throws(KernelError) {
        let index = try index(of: bridge)
        var message = NetlinkMessage(RTM_NEWLINK, flags: Self.change)
        message.add(header: ifinfomsg())
        message.add(IFLA_IFNAME, name)
        message.add(IFLA_MASTER, index)
        try socket.request(message, "set \(name) master \(bridge)")
    }

    package mutating func delete(_ name: String) throws(KernelError) {
        var message = NetlinkMessage(RTM_DELLINK, flags: Self.change)
        message.add(header: ifinfomsg())
        message.add(IFLA_IFNAME, name)
        try socket.request(message, "delete \(name)")
    }

    /// The interface index of `name`.
    package mutating func index(of name: String) throws(KernelError) -> UInt32 {
        var message = NetlinkMessage(RTM_GETLINK, flags: Self.change)
        message.add(header: ifinfomsg())
        message.add(IFLA_IFNAME, name)
        let replies = try socket.request(message, "look up \(name)")
        // struct ifinfomsg: family, padding, type, index.
        guard let index = replies.first?.loadInteger(at: 16 + 4, as: UInt32.self) else {
            throw KernelError("look up \(name)", .noSuchAddressOrDevice)
        }
        return index
    }

    /// An interface, as `RTM_GETLINK` tells it.
    package struct Link: Hashable, Sendable {
        package let index: UInt32
        /// Whether packets begin with an Ethernet header (`ARPHRD_ETHER`).
        package let isEthernet: Bool
        package let isLoopback: Bool
        /// Whether it is set up (`IFF_UP`), with a carrier or without.
        package let isUp: Bool
        /// Whether it is a VLAN on top of another interface.
        package let isVLAN: Bool
    }

    /// Every interface of the namespace.
    package mutating func links() throws(KernelError) -> [Link] {
        var message = NetlinkMessage(RTM_GETLINK, flags: NLM_F_REQUEST | NLM_F_DUMP)
        message.add(header: ifinfomsg())
        return try socket.dump(message, "list interfaces").compactMap { reply in
            // struct ifinfomsg: family, padding, type, index, flags; ARPHRD_ETHER is 1,
            // _LOOPBACK 772.
            guard let type = reply.loadInteger(at: 16 + 2, as: UInt16.self),
                let index = reply.loadInteger(at: 16 + 4, as: UInt32.self),
                let flags = reply.loadInteger(at: 16 + 8, as: UInt32.self)
            else { return nil }
            return Link(
                index: index, isEthernet: type == 1, isLoopback: type == 772,
                isUp: flags & UInt32(clibmnl_iff_up) != 0,
                isVLAN: Self.kind(of: reply) == "vlan")
        }
    }

    /// The driver's name in `IFLA_LINKINFO`, for an interface that has one.
    private static func kind(of reply: [UInt8]) -> String? {
        // nlmsghdr and ifinfomsg take 32 bytes.
        let info = reply.netlinkAttributes(from: 32).first { $0.type == IFLA_LINKINFO }
        let kind = info?.value.netlinkAttributes(from: 0).first { $0.type == IFLA_INFO_KIND }
        return kind.map { String(decoding: $0.value.prefix { $0 != 0 }, as: UTF8.self) }
    }

    // MARK: Addresses and routes

    /// Gives the interface an address; IPv6 without duplicate detection, so that it is usable
    /// at once.
    package mutating func addAddress(
        _ address: IPAddress, prefixLength: Int, to name: String
    ) throws(KernelError) {
        let index = try index(of: name)
        var message = NetlinkMessage(RTM_NEWADDR, flags: Self.create)
        var header = ifaddrmsg()
        header.ifa_family = address.family.domain
        header.ifa_prefixlen = UInt8(prefixLength)
        header.ifa_index = index
        header.ifa_flags = address.family == .ipv6 ? UInt8(clibmnl_ifa_f_nodad) : 0
        message.add(header: header)
        message.add(IFA_LOCAL, address.wireBytes)
        message.add(IFA_ADDRESS, address.wireBytes)
        try socket.request(message, "add address \(address) to \(name)")
    }

    /// Makes every address of `network` the namespace's own, without giving any interface one.
    package mutating func addLocalRoute(to network: CIDR) throws(KernelError) {
        let index = try index(of: "lo")
        var message = NetlinkMessage(RTM_NEWROUTE, flags: Self.create)
        var header = rtmsg()
        header.rtm_family = network.family.domain
        header.rtm_dst_len = UInt8(network.prefixLength)
        header.rtm_table = UInt8(clibmnl_rt_table_local)
        header.rtm_protocol = UInt8(clibmnl_rtprot_static)
        header.rtm_scope = UInt8(clibmnl_rt_scope_host)
        header.rtm_type = UInt8(clibmnl_rtn_local)
        message.add(header: header)
        message.add(clibmnl_rta_dst, network.network.wireBytes)
        message.add(clibmnl_rta_oif, index)
        try socket.request(message, "add local route to \(network)")
    }

    /// Adds a unicast route: by a gateway, or straight out of an interface.
    package mutating func addRoute(
        to destination: CIDR, via gateway: IPAddress? = nil, out name: String? = nil
    ) throws(KernelError) {
        let output: UInt32? = try name.map { name throws(KernelError) in try index(of: name) }
        var message = NetlinkMessage(RTM_NEWROUTE, flags: Self.create)
        var header = rtmsg()
        header.rtm_family = destination.family.domain
        header.rtm_dst_len = UInt8(destination.prefixLength)
        header.rtm_table = UInt8(clibmnl_rt_table_main)
        header.rtm_protocol = UInt8(clibmnl_rtprot_static)
        header.rtm_scope = gateway == nil ? UInt8(clibmnl_rt_scope_link) : 0
        header.rtm_type = UInt8(clibmnl_rtn_unicast)
        message.add(header: header)
        if destination.prefixLength > 0 {
            message.add(clibmnl_rta_dst, destination.network.wireBytes)
        }
        if let gateway { message.add(clibmnl_rta_gateway, gateway.wireBytes) }
        if let output { message.add(clibmnl_rta_oif, output) }
        try socket.request(message, "add route to \(destination)")
    }

    /// An address of an interface.
    package struct InterfaceAddress: Hashable, Sendable {
        package let address: IPAddress
        package let prefixLength: Int
        package let interfaceIndex: UInt32
    }

    /// Every address of the namespace, both families.
    package mutating func addresses() throws(KernelError) -> [InterfaceAddress] {
        var message = NetlinkMessage(RTM_GETADDR, flags: NLM_F_REQUEST | NLM_F_DUMP)
        message.add(header: ifaddrmsg())
        return try socket.dump(message, "list addresses").compactMap(Self.interfaceAddress)
    }

    private static func interfaceAddress(_ reply: [UInt8]) -> InterfaceAddress? {
        // struct ifaddrmsg: family, prefix length, flags, scope, index.
        guard reply.count >= 24, let index = reply.loadInteger(at: 20, as: UInt32.self) else {
            return nil
        }
        let attributes = reply.netlinkAttributes(from: 24)
        // IFA_LOCAL is the address itself where both are given (point-to-point links).
        let value =
            attributes.first { $0.type == IFA_LOCAL } ?? attributes.first { $0.type == IFA_ADDRESS }
        guard let address = value.flatMap({ IPAddress(wireBytes: $0.value) }) else { return nil }
        return InterfaceAddress(
            address: address, prefixLength: Int(reply[17]), interfaceIndex: index)
    }
}

extension AddressFamily {
    /// AF_INET or AF_INET6.
    package var domain: UInt8 { self == .ipv4 ? 2 : 10 }
}

extension IPAddress {
    /// The address as it travels: 4 or 16 bytes, network order.
    package var wireBytes: [UInt8] { family == .ipv4 ? Array(bytes.suffix(4)) : bytes }

    /// Reads 4 or 16 bytes in network order.
    package init?(wireBytes: some Collection<UInt8>) {
        if wireBytes.count == 4 {
            self.init(ipv4: wireBytes.reduce(0) { $0 << 8 | UInt32($1) })
        } else {
            self.init(bytes: wireBytes)
        }
    }
}

extension NetworkNamespace {
    /// The addresses of its interfaces, loopback's not among them.
    package func addresses() throws(KernelError) -> [IPAddress] {
        var links = try RouteNetlink.open(in: self)
        return try links.addresses().map(\.address).filter { !$0.isLoopback }
    }
}
