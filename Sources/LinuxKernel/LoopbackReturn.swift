// SPDX-License-Identifier: Apache-2.0

internal import CLibMNL
package import RedirectionModel
internal import SystemPackage

/// The way back to `::1` for what the kernel answers without a socket.
///
/// A connection from one of the namespace's own IPv6 addresses to `::1` stays on loopback. But when
/// the connecting socket is gone and the kernel answers in its place, a last FIN or a segment too
/// many, it takes `::1` for an address of one link, and sends the acknowledgment or reset out of the
/// interface that has the connection's source address (`tcp_v6_send_response`): by the default route
/// it leaves, and is lost. The other end then repeats its FIN for two minutes; whoever gets the same
/// source port meanwhile cannot connect, and who sends to the dead is never told.
///
/// A route to `::1` by each such interface keeps those answers here. All else goes by the kernel's own,
/// which is preferred. IPv4 knows no such addresses.
package enum LoopbackReturn {
    /// Who made our routes (`rtm_protocol`), a number that nobody has registered.
    private static let maker: UInt8 = 121

    /// Makes the routes of the interfaces that are up and have one of the addresses.
    ///
    /// One that somebody else has made will do. An interface that goes down, or away, meanwhile takes
    /// the connections by it along; `missing` tells when it is back.
    ///
    /// `about` is told of each step before it is made.
    package static func install(
        in namespace: NetworkNamespace, for addresses: Set<IPAddress>,
        about: (String) -> Void = { _ in }
    ) throws(KernelError) {
        var netlink = try RouteNetlink.open(in: namespace)
        for interface in try missing(&netlink, for: addresses) {
            about("add \(text(interface))")
            do throws(KernelError) {
                try netlink.changeLoopbackRoute(RTM_NEWROUTE, by: interface, maker: maker)
            } catch  where isNoMatter(error) {}
        }
    }

    /// It is there by now, or its interface is not.
    private static func isNoMatter(_ error: KernelError) -> Bool {
        [.fileExists, .networkDown, .operationNotSupportedByDevice].contains(error.errno)
    }

    /// Removes the routes, but those of interfaces that have one of the spared addresses.
    package static func remove(
        from namespace: NetworkNamespace, sparing spared: Set<IPAddress> = [],
        about: (String) -> Void = { _ in }
    ) throws(KernelError) {
        var netlink = try RouteNetlink.open(in: namespace)
        let present = try netlink.loopbackRoutes(maker: maker)
        for interface in present.subtracting(try netlink.interfaces(with: spared)).sorted() {
            about("delete \(text(interface))")
            do throws(KernelError) {
                try netlink.changeLoopbackRoute(RTM_DELROUTE, by: interface, maker: maker)
            } catch  where error.errno == .noSuchProcess || error.errno == .noSuchAddressOrDevice {
                // It has gone with its interface.
            }
        }
    }

    /// The routes that are not there, whoever might have made them, as ip(8) speaks of them.
    package static func missing(
        in namespace: NetworkNamespace, for addresses: Set<IPAddress>
    ) throws(KernelError) -> [String] {
        var netlink = try RouteNetlink.open(in: namespace)
        return try missing(&netlink, for: addresses).map(text)
    }

    /// The routes of ours that are there.
    package static func remains(
        in namespace: NetworkNamespace
    ) throws(KernelError) -> [String] {
        var netlink = try RouteNetlink.open(in: namespace)
        return try netlink.loopbackRoutes(maker: maker).sorted().map(text)
    }

    private static func missing(
        _ netlink: inout RouteNetlink, for addresses: Set<IPAddress>
    ) throws(KernelError) -> [UInt32] {
        try netlink.interfaces(with: addresses)
            .subtracting(try netlink.loopbackRoutes()).sorted()
    }

    private static func text(_ interface: UInt32) -> String {
        "route local ::1 by interface \(interface)"
    }
}

extension RouteNetlink {
    /// The interfaces that are up and have one of these IPv6 addresses, but for loopback itself.
    fileprivate mutating func interfaces(
        with addresses: Set<IPAddress>
    ) throws(KernelError) -> Set<UInt32> {
        let links = try links().filter { $0.isUp && !$0.isLoopback }.map(\.index)
        let wanted = try self.addresses().filter {
            $0.address.family == .ipv6 && addresses.contains($0.address)
        }
        return Set(wanted.map(\.interfaceIndex)).intersection(links)
    }

    /// Adds or deletes `local ::1` by an interface; one that is there already stays.
    fileprivate mutating func changeLoopbackRoute(
        _ type: Int, by interface: UInt32, maker: UInt8
    ) throws(KernelError) {
        // Not exclusive: routes of several interfaces have the same destination.
        let flags = type == RTM_NEWROUTE ? Self.change | NLM_F_CREATE : Self.change
        var message = NetlinkMessage(type, flags: flags)
        var header = rtmsg()
        header.rtm_family = AddressFamily.ipv6.domain
        header.rtm_dst_len = 128
        header.rtm_table = UInt8(clibmnl_rt_table_local)
        header.rtm_protocol = maker
        header.rtm_scope = UInt8(clibmnl_rt_scope_host)
        header.rtm_type = UInt8(clibmnl_rtn_local)
        message.add(header: header)
        message.add(clibmnl_rta_dst, IPAddress.loopback(.ipv6).wireBytes)
        message.add(clibmnl_rta_oif, interface)
        try socket.request(message, "change the route to ::1 by interface \(interface)")
    }

    /// The interfaces by which `maker`, or anybody, has made a local route to `::1`.
    fileprivate mutating func loopbackRoutes(
        maker: UInt8? = nil
    ) throws(KernelError) -> Set<UInt32> {
        var message = NetlinkMessage(RTM_GETROUTE, flags: NLM_F_REQUEST | NLM_F_DUMP)
        var header = rtmsg()
        header.rtm_family = AddressFamily.ipv6.domain
        message.add(header: header)
        let found = try socket.dump(message, "list routes").compactMap { reply in
            // struct rtmsg: family, destination length, source length, tos, table, protocol, scope,
            // type.
            guard reply.count >= 28, reply[17] == 128, reply[21] == maker ?? reply[21],
                reply[20] == UInt8(clibmnl_rt_table_local), reply[23] == UInt8(clibmnl_rtn_local)
            else { return UInt32?.none }
            let attributes = reply.netlinkAttributes(from: 28)
            let destination = attributes.first { $0.type == clibmnl_rta_dst }?.value
            guard destination == IPAddress.loopback(.ipv6).wireBytes else { return nil }
            return attributes.first { $0.type == clibmnl_rta_oif }?
                .value.loadInteger(at: 0, as: UInt32.self)
        }
        return Set(found)
    }
}
