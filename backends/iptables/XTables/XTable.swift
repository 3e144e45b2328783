// SPDX-License-Identifier: Apache-2.0

internal import CLibIPTC
package import LinuxKernel
package import RedirectionModel
internal import SystemPackage

/// A legacy table of the calling thread's namespace, opened for change: `nat`, `filter`.
///
/// What is opened is a snapshot. Changes are made to it in memory, and `commit` puts the whole
/// table back at once: packets meet the old rules or the new ones, never a mixture.
///
/// libiptc keeps its last error in a global, so tables are only used within `XTables.exclusively`.
@safe
package struct XTable: ~Copyable {
    let table: clibiptc_table
    private let name: String
    package let family: AddressFamily

    private init(owning table: clibiptc_table, _ name: String, _ family: AddressFamily) {
        unsafe self.table = unsafe table
        self.name = name
        self.family = family
    }

    deinit { unsafe clibiptc_close(table) }

    /// Takes a snapshot of the table, which the kernel makes if it is not there yet.
    package static func open(
        _ name: String, _ family: AddressFamily
    ) throws(KernelError) -> XTable {
        var opened: OpaquePointer?
        let (status, note) = KernelModule.trying(family.module) {
            unsafe clibiptc_open(family == .ipv6, name, &opened)
        }
        try check(status, "\(family.libraryPrefix)_init(\(name))", family, note)
        guard let opened = unsafe opened else { preconditionFailure("no table, no error") }
        let table = unsafe clibiptc_table(is_ipv6: family == .ipv6, handle: opened)
        return unsafe XTable(owning: table, name, family)
    }

    /// Whether the calling thread's namespace has the table; looking does not make it.
    package static func exists(
        _ name: String, _ family: AddressFamily
    ) throws(KernelError) -> Bool {
        do throws(KernelError) {
            let file = family == .ipv4 ? "ip_tables_names" : "ip6_tables_names"
            let names = try readFile("/proc/thread-self/net/\(file)")
            return names.split(separator: "\n").contains { $0 == name }
        } catch {
            guard error.errno == .noSuchFileOrDirectory else { throw error }
            return false
        }
    }

    // MARK: Reading

    /// The names of all chains, built-in ones among them.
    package var chains: [String] {
        var names: [String] = []
        var next = unsafe clibiptc_first_chain(table)
        while let name = unsafe next {
            unsafe names.append(String(cString: name))
            unsafe next = clibiptc_next_chain(table)
        }
        return names
    }

    /// What a rule in the kernel says of itself.
    package struct InstalledRule: Hashable, Sendable {
        /// A verdict, a chain or a module.
        package let target: String
        package let comment: String?
        package let packets: UInt64
    }

    /// The rules of a chain, in order.
    package func rules(in chain: String) -> [InstalledRule] {
        var rules: [InstalledRule] = []
        var next = unsafe clibiptc_first_entry(table, chain)
        while let entry = unsafe next {
            let comment = unsafe clibiptc_comment(table.is_ipv6, entry)
            unsafe rules.append(
                InstalledRule(
                    target: String(cString: clibiptc_target(table, entry)),
                    comment: comment.map { unsafe String(cString: $0) },
                    packets: clibiptc_packets(table.is_ipv6, entry)))
            unsafe next = clibiptc_next_entry(table, entry)
        }
        return rules
    }

    /// A rule as the table had it, modules' data and counters included, to be added again.
    package struct SavedRule: Sendable {
        /// A verdict, a chain or a module.
        package let target: String
        fileprivate let bytes: [UInt8]
    }

    /// The rules of a chain, in order, for keeping.
    package func savedRules(of chain: String) -> [SavedRule] {
        var rules: [SavedRule] = []
        var next = unsafe clibiptc_first_entry(table, chain)
        while let entry = unsafe next {
            let size = unsafe clibiptc_size(table.is_ipv6, entry)
            let bytes = unsafe [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
                guard let copy = buffer.baseAddress else { return }
                unsafe clibiptc_copy(table, entry, copy)
                count = size
            }
            let target = unsafe String(cString: clibiptc_target(table, entry))
            rules.append(SavedRule(target: target, bytes: bytes))
            unsafe next = clibiptc_next_entry(table, entry)
        }
        return rules
    }

    // MARK: Changing

    package mutating func create(_ chain: String) throws(KernelError) {
        try check(unsafe clibiptc_create_chain(table, chain), "create_chain(\(chain))")
    }

    /// Removes every rule of the chain.
    package mutating func flush(_ chain: String) throws(KernelError) {
        try check(unsafe clibiptc_flush_chain(table, chain), "flush_entries(\(chain))")
    }

    /// Removes the chain, which must be empty and unreferenced.
    package mutating func delete(_ chain: String) throws(KernelError) {
        try check(unsafe clibiptc_delete_chain(table, chain), "delete_chain(\(chain))")
    }

    package mutating func append(_ rule: XTRule, to chain: String) throws(KernelError) {
        let status = unsafe XTEntry(rule, family).withPointer { entry in
            unsafe clibiptc_append(table, chain, entry)
        }
        try check(status, "append_entry(\(chain) \(rule))")
    }

    /// Makes `rule` the first of the chain.
    package mutating func prepend(_ rule: XTRule, to chain: String) throws(KernelError) {
        let status = unsafe XTEntry(rule, family).withPointer { entry in
            unsafe clibiptc_insert(table, chain, entry, 0)
        }
        try check(status, "insert_entry(\(chain) \(rule))")
    }

    package mutating func append(_ rule: SavedRule, to chain: String) throws(KernelError) {
        let status = unsafe clibiptc_append(table, chain, rule.bytes)
        try check(status, "append_entry(\(chain) \(rule.target))")
    }

    /// Adds `rule` so that it has this number in the chain, or is the last of a shorter one.
    package mutating func insert(
        _ rule: SavedRule, at number: Int, of chain: String
    ) throws(KernelError) {
        let number = UInt32(clamping: min(number, rules(in: chain).count))
        let status = unsafe clibiptc_insert(table, chain, rule.bytes, number)
        try check(status, "insert_entry(\(chain) \(rule.target))")
    }

    /// Deletes the rules of `chain` that `isUnwanted` picks; the others keep order and counters.
    package mutating func deleteRules(
        of chain: String, where isUnwanted: (InstalledRule) -> Bool
    ) throws(KernelError) {
        for (number, rule) in rules(in: chain).enumerated().reversed() where isUnwanted(rule) {
            let status = unsafe clibiptc_delete(table, chain, UInt32(number))
            try check(status, "delete_num_entry(\(chain) \(number))")
        }
    }

    /// Puts the table into the kernel; `EAGAIN` says that somebody else changed it meanwhile.
    package mutating func commit() throws(KernelError) {
        try check(unsafe clibiptc_commit(table), "commit(\(name))")
    }

    private func check(
        _ status: CInt, _ call: @autoclosure () -> String
    ) throws(KernelError) {
        try Self.check(status, "\(family.libraryPrefix)_\(call())", family)
    }

    private static func check(
        _ status: CInt, _ call: @autoclosure () -> String, _ family: AddressFamily,
        _ note: String? = nil
    ) throws(KernelError) {
        guard status < 0 else { return }
        let text = unsafe String(cString: clibiptc_explain(family == .ipv6, -status))
        let detail = ([text] + (note.map { [$0] } ?? [])).joined(separator: "; ")
        throw KernelError(call(), Errno(rawValue: -status), detail: detail)
    }
}

extension AddressFamily {
    /// What has the tables of the family.
    fileprivate var module: String { self == .ipv4 ? "ip_tables" : "ip6_tables" }

    /// How libiptc's functions for the family begin.
    fileprivate var libraryPrefix: String { self == .ipv4 ? "iptc" : "ip6tc" }
}
