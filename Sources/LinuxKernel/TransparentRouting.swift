// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel
internal import SystemPackage

/// Routing that lets a sidecar speak to the application from its clients' addresses.
///
/// The sidecar's connections carry a mark. The application's answers to them go to the client's
/// address, so they would leave the workload; with the mark they look into a table in which
/// every address is the workload's own, and come back to the sidecar. Two things make that so:
///
/// - a rule `fwmark MARK lookup TABLE` and a route `local default dev lo table TABLE`, in each
///   family;
/// - the sysctl `net.ipv4.tcp_fwmark_accept`, for both families: a connection that is accepted
///   has the mark of its first segment, so answers carry it without being touched.
///
/// What was made here is told from what others made by `FRA_PROTOCOL` and `rtm_protocol`, and so
/// is whether the sysctl was on before: nothing is kept but in the kernel.
package struct TransparentRouting: Hashable, Sendable {
    package let mark: UInt32
    package let table: UInt32

    package init(mark: UInt32, table: UInt32) {
        self.mark = mark
        self.table = table
    }

    /// Who made the rule, and found the sysctl off; numbers that nobody has registered.
    fileprivate static let makerOfSysctl: UInt8 = 115
    /// Who made the rule, and found the sysctl on.
    fileprivate static let maker: UInt8 = 116
    /// After the rule for the machine's own addresses, before all that others are likely to add.
    private static let priority: UInt32 = 100
    private static let sysctl = "/proc/sys/net/ipv4/tcp_fwmark_accept"

    // MARK: Changing

    /// Makes the routing, in the place of an earlier one with other numbers.
    ///
    /// The new is made before the old is removed, and either leaves no half behind.
    package func install(in namespace: NetworkNamespace) throws(KernelError) {
        if try Self.installed(in: namespace) == self { return }
        do throws(KernelError) {
            try add(in: namespace)
            guard try isComplete(in: namespace) else {
                throw KernelError(
                    "route mark \(mark) by table \(table)", .fileExists,
                    detail: "the table has a default route of somebody else's")
            }
        } catch {
            try? Self.remove(from: namespace) { $0.mark == mark && $0.table == table }
            throw error
        }
        try Self.remove(from: namespace) { $0.mark != mark || $0.table != table }
    }

    /// Removes what `install` made, whatever its numbers, and nothing else.
    package static func remove(from namespace: NetworkNamespace) throws(KernelError) {
        try remove(from: namespace) { _ in true }
    }

    private func add(in namespace: NetworkNamespace) throws(KernelError) {
        var netlink = try RouteNetlink.open(in: namespace)
        let maker = try Self.nextMaker(&netlink, in: namespace)
        for family in try Self.families(in: namespace) {
            let rule = RouteNetlink.MarkRule(mark: mark, table: table, maker: maker)
            try unless(.fileExists) { () throws(KernelError) in
                try netlink.addLocalDefault(family, table: table, maker: Self.maker)
            }
            let present = try netlink.markRules(family).contains { other in
                other.isOurs && other.mark == mark && other.table == table
            }
            if !present { try netlink.add(rule, family, priority: Self.priority) }
        }
        // After the rule that remembers what it was.
        try namespace.run { () throws(KernelError) in try Self.setMarkOnAccept(true) }
    }

    /// What the rules shall remember: what earlier ones do, or else the sysctl as it is.
    private static func nextMaker(
        _ netlink: inout RouteNetlink, in namespace: NetworkNamespace
    ) throws(KernelError) -> UInt8 {
        for family in AddressFamily.allCases {
            let rules = try netlink.markRules(family)
            if let earlier = rules.first(where: \.isOurs) { return earlier.maker }
        }
        let isOn = try namespace.run { () throws(KernelError) in try marksOnAccept() }
        return isOn ? maker : makerOfSysctl
    }

    /// Removes those of our rules that `isUnwanted` picks, and their routes.
    ///
    /// With the last one the sysctl goes back. The rules go last, for they remember what there is
    /// to do.
    private static func remove(
        from namespace: NetworkNamespace, where isUnwanted: (RouteNetlink.MarkRule) -> Bool
    ) throws(KernelError) {
        var netlink = try RouteNetlink.open(in: namespace)
        var ours: [(family: AddressFamily, rule: RouteNetlink.MarkRule)] = []
        for family in AddressFamily.allCases {
            ours += try netlink.markRules(family).filter(\.isOurs).map { (family, $0) }
        }
        let unwanted = ours.filter { isUnwanted($0.rule) }
        if unwanted.count == ours.count, ours.contains(where: { $0.rule.maker == makerOfSysctl }) {
            try namespace.run { () throws(KernelError) in try setMarkOnAccept(false) }
        }
        for (family, rule) in unwanted {
            let isShared = ours.contains { other in
                other.family == family && other.rule.table == rule.table && !isUnwanted(other.rule)
            }
            if !isShared {
                try unless(.noSuchProcess) { () throws(KernelError) in
                    try netlink.deleteLocalDefault(family, table: rule.table, maker: maker)
                }
            }
            try unless(.noSuchFileOrDirectory) { () throws(KernelError) in
                try netlink.delete(rule, family, priority: priority)
            }
        }
    }

    // MARK: Reading

    /// The routing that is there, whole; `nil` for none or a part.
    package static func installed(
        in namespace: NetworkNamespace
    ) throws(KernelError) -> TransparentRouting? {
        var netlink = try RouteNetlink.open(in: namespace)
        let rules = try netlink.markRules(.ipv4).filter(\.isOurs)
        guard let rule = rules.first, rules.count == 1 else { return nil }
        let routing = TransparentRouting(mark: rule.mark, table: rule.table)
        return try routing.isComplete(in: namespace) ? routing : nil
    }

    private func isComplete(in namespace: NetworkNamespace) throws(KernelError) -> Bool {
        var netlink = try RouteNetlink.open(in: namespace)
        for family in try Self.families(in: namespace) {
            let isRuled = try netlink.markRules(family).contains { rule in
                rule.isOurs && rule.mark == mark && rule.table == table
            }
            guard isRuled, try netlink.localDefaultTables(family).contains(table) else {
                return false
            }
        }
        return try namespace.run { () throws(KernelError) in try Self.marksOnAccept() }
    }

    /// The families that have addresses at all: IPv6 is absent from some kernels, and switched
    /// off in many pods, which then take no route for it.
    private static func families(
        in namespace: NetworkNamespace
    ) throws(KernelError) -> [AddressFamily] {
        try namespace.run { () throws(KernelError) in
            do throws(KernelError) {
                let isOff = try readFile("/proc/sys/net/ipv6/conf/lo/disable_ipv6")
                return isOff.hasPrefix("0") ? [.ipv4, .ipv6] : [.ipv4]
            } catch {
                guard error.errno == .noSuchFileOrDirectory else { throw error }
                return [.ipv4]
            }
        }
    }

    // MARK: The sysctl, of the calling thread's namespace

    private static func marksOnAccept() throws(KernelError) -> Bool {
        try !readFile(sysctl).hasPrefix("0")
    }

    private static func setMarkOnAccept(_ isOn: Bool) throws(KernelError) {
        guard try marksOnAccept() != isOn else { return }
        try OwnedDescriptor.open(sysctl, .write).write(isOn ? "1" : "0")
    }
}

extension RouteNetlink.MarkRule {
    fileprivate var isOurs: Bool {
        [TransparentRouting.maker, TransparentRouting.makerOfSysctl].contains(maker)
    }
}

/// Runs `body`; that one errno says that there is nothing to do.
private func unless(
    _ harmless: Errno, _ body: () throws(KernelError) -> Void
) throws(KernelError) {
    do throws(KernelError) {
        try body()
    } catch {
        guard error.errno == harmless else { throw error }
    }
}
