// SPDX-License-Identifier: Apache-2.0

internal import CLibMNL
internal import RedirectionModel
internal import SystemPackage

/// Routing by mark: rules that choose a table, ip-rule(8), and tables that keep packets here.
extension RouteNetlink {
    /// A rule `fwmark MARK lookup TABLE` and who made it (`FRA_PROTOCOL`, Linux 4.17).
    struct MarkRule: Hashable {
        var mark: UInt32
        var table: UInt32
        var maker: UInt8
    }

    private static let ruleHeader = MemoryLayout<fib_rule_hdr>.size

    /// Adds the rule, before all others but the one for the machine's own addresses.
    mutating func add(
        _ rule: MarkRule, _ family: AddressFamily, priority: UInt32
    ) throws(KernelError) {
        let message = Self.message(RTM_NEWRULE, Self.create, rule, family, priority)
        try socket.request(message, "add \(family) rule fwmark \(rule.mark) lookup \(rule.table)")
    }

    mutating func delete(
        _ rule: MarkRule, _ family: AddressFamily, priority: UInt32
    ) throws(KernelError) {
        let message = Self.message(RTM_DELRULE, Self.change, rule, family, priority)
        try socket.request(
            message, "delete \(family) rule fwmark \(rule.mark) lookup \(rule.table)")
    }

    private static func message(
        _ type: Int, _ flags: CInt, _ rule: MarkRule, _ family: AddressFamily, _ priority: UInt32
    ) -> NetlinkMessage {
        var message = NetlinkMessage(type, flags: flags)
        var header = fib_rule_hdr()
        header.family = family.domain
        header.action = UInt8(FR_ACT_TO_TBL)
        message.add(header: header)
        message.add(FRA_FWMARK, rule.mark)
        message.add(FRA_FWMASK, ~0)
        message.add(FRA_TABLE, rule.table)
        message.add(FRA_PRIORITY, priority)
        message.add(FRA_PROTOCOL, [rule.maker])
        return message
    }

    /// The rules of the family that go by a whole mark.
    mutating func markRules(_ family: AddressFamily) throws(KernelError) -> [MarkRule] {
        var message = NetlinkMessage(RTM_GETRULE, flags: NLM_F_REQUEST | NLM_F_DUMP)
        var header = fib_rule_hdr()
        header.family = family.domain
        message.add(header: header)
        return try socket.dump(message, "list \(family) rules").compactMap { reply in
            let attributes = reply.netlinkAttributes(from: 16 + Self.ruleHeader)
            func value(_ type: Int) -> [UInt8]? { attributes.first { $0.type == type }?.value }
            guard let mark = value(FRA_FWMARK)?.loadInteger(at: 0, as: UInt32.self),
                let table = value(FRA_TABLE)?.loadInteger(at: 0, as: UInt32.self)
            else { return nil }
            return MarkRule(mark: mark, table: table, maker: value(FRA_PROTOCOL)?.first ?? 0)
        }
    }

    /// Adds `local default dev lo` to the table: every address is the machine's own there.
    mutating func addLocalDefault(
        _ family: AddressFamily, table: UInt32, maker: UInt8
    ) throws(KernelError) {
        let message = try localDefault(RTM_NEWROUTE, Self.create, family, table, maker)
        try socket.request(message, "add \(family) local default to table \(table)")
    }

    mutating func deleteLocalDefault(
        _ family: AddressFamily, table: UInt32, maker: UInt8
    ) throws(KernelError) {
        let message = try localDefault(RTM_DELROUTE, Self.change, family, table, maker)
        try socket.request(message, "delete \(family) local default from table \(table)")
    }

    private mutating func localDefault(
        _ type: Int, _ flags: CInt, _ family: AddressFamily, _ table: UInt32, _ maker: UInt8
    ) throws(KernelError) -> NetlinkMessage {
        let output = try index(of: "lo")
        var message = NetlinkMessage(type, flags: flags)
        var header = rtmsg()
        header.rtm_family = family.domain
        header.rtm_protocol = maker
        header.rtm_scope = UInt8(clibmnl_rt_scope_host)
        header.rtm_type = UInt8(clibmnl_rtn_local)
        message.add(header: header)
        message.add(clibmnl_rta_table, table)
        message.add(clibmnl_rta_oif, output)
        return message
    }

    /// A table in which every address is the machine's own, and who made it so (`rtm_protocol`).
    struct LocalDefault: Hashable {
        var table: UInt32
        var maker: UInt8
    }

    /// The tables of the family in which every address is the machine's own.
    mutating func localDefaults(_ family: AddressFamily) throws(KernelError) -> [LocalDefault] {
        var message = NetlinkMessage(RTM_GETROUTE, flags: NLM_F_REQUEST | NLM_F_DUMP)
        var header = rtmsg()
        header.rtm_family = family.domain
        message.add(header: header)
        return try socket.dump(message, "list \(family) routes").compactMap { reply in
            // struct rtmsg: family, destination length, source length, tos, table, protocol,
            // scope, type.
            guard reply.count >= 28, reply[17] == 0, reply[23] == UInt8(clibmnl_rtn_local) else {
                return LocalDefault?.none
            }
            let attributes = reply.netlinkAttributes(from: 28)
            let table = attributes.first { $0.type == clibmnl_rta_table }?
                .value.loadInteger(at: 0, as: UInt32.self)
            return table.map { LocalDefault(table: $0, maker: reply[21]) }
        }
    }
}
