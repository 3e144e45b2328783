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
/// Each mechanism has its own rule, so that one can take over from another while both stand; the
/// route is for all. What was made here is told from what others made by `FRA_PROTOCOL` and
/// `rtm_protocol`, and so is whether the sysctl was on before: nothing is kept but in the kernel.
package struct TransparentRouting: Hashable, Sendable {
    package let mark: UInt32
    package let table: UInt32

    package init(mark: UInt32, table: UInt32) {
        self.mark = mark
        self.table = table
    }

    /// Whose routing it is.
    package enum Owner: CaseIterable, Sendable {
        /// Those of nf_tables.
        case rules
        /// The BPF programs'.
        case programs
        /// Those of the legacy tables.
        case legacyRules

        /// Each has a number, by which all that is its own is told.
        private var number: UInt8 {
            switch self {
            case .rules: 0
            case .programs: 1
            case .legacyRules: 2
            }
        }

        /// Who made a rule, and found the sysctl off; numbers that nobody has registered.
        fileprivate var makerOfSysctl: UInt8 { 115 + 2 * number }
        /// Who made a rule, and found the sysctl on.
        fileprivate var maker: UInt8 { 116 + 2 * number }
        /// After the rule for the machine's own addresses, before others' by all likelihood.
        ///
        /// The kernel takes rules of one priority that differ in their maker for the same.
        fileprivate var priority: UInt32 { 100 + UInt32(number) }

        fileprivate var numbers: [UInt8] { [maker, makerOfSysctl] }

        fileprivate func made(_ rule: RouteNetlink.MarkRule) -> Bool {
            numbers.contains(rule.maker)
        }
    }

    /// The numbers that routes and rules bear that were made when the sysctl was off.
    fileprivate static let makersOfSysctl = Owner.allCases.map(\.makerOfSysctl)
    private static let makers = Owner.allCases.map(\.maker) + makersOfSysctl
    private static let sysctl = "/proc/sys/net/ipv4/tcp_fwmark_accept"

    // MARK: Changing

    /// Makes the owner's routing, in the place of its earlier one with other numbers.
    ///
    /// The new is made before the old is removed, and either leaves no half behind. `about` is
    /// told of each step before it is made.
    package func install(
        in namespace: NetworkNamespace, for owner: Owner, about: (String) -> Void = { _ in }
    ) throws(KernelError) {
        if try Self.installed(in: namespace, for: owner) == self { return }
        do throws(KernelError) {
            try add(in: namespace, owner, about)
            guard try isComplete(in: namespace, owner) else {
                throw KernelError(
                    "route mark \(mark) by table \(table)", .fileExists,
                    detail: "the table has a default route of somebody else's")
            }
        } catch {
            try? Self.remove(from: namespace, about) { isSame($0) && owner.made($0) }
            throw error
        }
        try Self.remove(from: namespace, about) { !isSame($0) && owner.made($0) }
    }

    /// Removes what `install` made for the owner, whatever its numbers, and nothing else.
    package static func remove(
        from namespace: NetworkNamespace, for owner: Owner, about: (String) -> Void = { _ in }
    ) throws(KernelError) {
        try remove(from: namespace, about, where: owner.made)
    }

    private func isSame(_ rule: RouteNetlink.MarkRule) -> Bool {
        rule.mark == mark && rule.table == table
    }

    private func add(
        in namespace: NetworkNamespace, _ owner: Owner, _ about: (String) -> Void
    ) throws(KernelError) {
        var netlink = try RouteNetlink.open(in: namespace)
        let foundOff = try Self.sysctlWasOff(&netlink, in: namespace)
        let maker = foundOff ? owner.makerOfSysctl : owner.maker
        for family in try Self.families(in: namespace) {
            let rule = RouteNetlink.MarkRule(mark: mark, table: table, maker: maker)
            about("add \(family) local default to table \(table)")
            try unless(.fileExists) { () throws(KernelError) in
                try netlink.addLocalDefault(family, table: table, maker: maker)
            }
            let present = try netlink.markRules(family).contains { isSame($0) && owner.made($0) }
            if present { continue }
            about("add \(family) rule fwmark \(mark) lookup \(table)")
            try netlink.add(rule, family, priority: owner.priority)
        }
        // After the rule that remembers what it was.
        about("set \(Self.sysctl)")
        try namespace.run { () throws(KernelError) in try Self.setMarkOnAccept(true) }
    }

    /// What is there of ours: rules by family, and the routes that they lead to.
    private struct Remains {
        var rules: [(family: AddressFamily, rule: RouteNetlink.MarkRule)] = []
        var routes: [(family: AddressFamily, route: RouteNetlink.LocalDefault)] = []

        init(_ netlink: inout RouteNetlink) throws(KernelError) {
            for family in AddressFamily.allCases {
                rules += try netlink.markRules(family).filter { makers.contains($0.maker) }
                    .map { (family, $0) }
                routes += try netlink.localDefaults(family).filter { makers.contains($0.maker) }
                    .map { (family, $0) }
            }
        }

        /// Whether one of them says that the sysctl was off; somebody may have deleted the others.
        var foundSysctlOff: Bool {
            rules.contains { makersOfSysctl.contains($0.rule.maker) }
                || routes.contains { makersOfSysctl.contains($0.route.maker) }
        }
    }

    /// What is there says what the sysctl was; without that, it is what it is.
    private static func sysctlWasOff(
        _ netlink: inout RouteNetlink, in namespace: NetworkNamespace
    ) throws(KernelError) -> Bool {
        let remains = try Remains(&netlink)
        if !remains.rules.isEmpty || !remains.routes.isEmpty { return remains.foundSysctlOff }
        return try namespace.run { () throws(KernelError) in try !marksOnAccept() }
    }

    /// Removes those of our rules that `isUnwanted` picks, and the routes no other rule leads to.
    ///
    /// With the last rule the sysctl goes back. What remembers what there is to do goes last.
    private static func remove(
        from namespace: NetworkNamespace, _ about: (String) -> Void,
        where isUnwanted: (RouteNetlink.MarkRule) -> Bool
    ) throws(KernelError) {
        var netlink = try RouteNetlink.open(in: namespace)
        let remains = try Remains(&netlink)
        let wanted = remains.rules.filter { !isUnwanted($0.rule) }
        if wanted.isEmpty, remains.foundSysctlOff {
            about("put \(sysctl) back")
            try namespace.run { () throws(KernelError) in try setMarkOnAccept(false) }
        }
        for (family, route) in remains.routes {
            if wanted.contains(where: { $0 == family && $1.table == route.table }) { continue }
            about("delete \(family) local default from table \(route.table)")
            try unless(.noSuchProcess) { () throws(KernelError) in
                try netlink.deleteLocalDefault(family, table: route.table, maker: route.maker)
            }
        }
        for (family, rule) in remains.rules where isUnwanted(rule) {
            guard let owner = Owner.allCases.first(where: { $0.made(rule) }) else { continue }
            about("delete \(family) rule fwmark \(rule.mark) lookup \(rule.table)")
            try unless(.noSuchFileOrDirectory) { () throws(KernelError) in
                try netlink.delete(rule, family, priority: owner.priority)
            }
        }
    }

    // MARK: Reading

    /// The owner's routing that is there, whole; `nil` for none or a part.
    package static func installed(
        in namespace: NetworkNamespace, for owner: Owner
    ) throws(KernelError) -> TransparentRouting? {
        var netlink = try RouteNetlink.open(in: namespace)
        var found: Set<TransparentRouting> = []
        for family in AddressFamily.allCases {
            for rule in try netlink.markRules(family) where owner.made(rule) {
                found.insert(TransparentRouting(mark: rule.mark, table: rule.table))
            }
        }
        guard let routing = found.first, found.count == 1 else { return nil }
        return try routing.isComplete(in: namespace, owner) ? routing : nil
    }

    private func isComplete(
        in namespace: NetworkNamespace, _ owner: Owner
    ) throws(KernelError) -> Bool {
        try missing(in: namespace, for: owner).isEmpty
    }

    /// What of the owner's routing is not there, as ip(8) and sysctl(8) speak of it.
    package func missing(
        in namespace: NetworkNamespace, for owner: Owner
    ) throws(KernelError) -> [String] {
        var netlink = try RouteNetlink.open(in: namespace)
        var missing: [String] = []
        for family in try Self.families(in: namespace) {
            if try !netlink.markRules(family).contains(where: { isSame($0) && owner.made($0) }) {
                missing.append("\(family) rule fwmark \(mark) lookup \(table)")
            }
            if try !netlink.localDefaults(family).contains(where: { $0.table == table }) {
                missing.append("\(family) route local default dev lo table \(table)")
            }
        }
        if try !namespace.run({ () throws(KernelError) in try Self.marksOnAccept() }) {
            missing.append("sysctl net.ipv4.tcp_fwmark_accept=1")
        }
        return missing
    }

    /// What there is of the owner's, whole or not, whatever its numbers.
    ///
    /// A route is its own when a rule of its leads to it, or when its number is on it; and when no
    /// rule of another owner needs it, which then is all that keeps it.
    package static func remains(
        in namespace: NetworkNamespace, of owner: Owner
    ) throws(KernelError) -> [String] {
        var netlink = try RouteNetlink.open(in: namespace)
        let remains = try Remains(&netlink)
        let rules = remains.rules.filter { owner.made($0.rule) }
        let others = remains.rules.filter { !owner.made($0.rule) }
        let routes = remains.routes.filter { family, route in
            func isNeeded(by rules: [(family: AddressFamily, rule: RouteNetlink.MarkRule)]) -> Bool
            {
                rules.contains { $0.family == family && $0.rule.table == route.table }
            }
            return !isNeeded(by: others)
                && (owner.numbers.contains(route.maker) || isNeeded(by: rules))
        }
        return rules.map { "\($0.family) rule fwmark \($0.rule.mark) lookup \($0.rule.table)" }
            + routes.map { "\($0.family) route local default dev lo table \($0.route.table)" }
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
