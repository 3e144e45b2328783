// SPDX-License-Identifier: Apache-2.0

internal import CLibNFTNL
package import LinuxKernel
internal import SystemPackage

/// A chain and what is in it.
package struct NFTChainContents: Hashable, Sendable {
    package let chain: NFTChain
    package let rules: [NFTRule]

    package init(chain: NFTChain, rules: [NFTRule]) {
        self.chain = chain
        self.rules = rules
    }
}

extension NFTConnection {
    /// What is in `inet` table `table`, in the words it was written in: base chains first.
    ///
    /// An instruction that is none of ours is `.unknown`. What somebody removes between two of our
    /// questions is an error (`ENOENT`) to the second; then we read again.
    package mutating func contents(of table: String) throws(KernelError) -> [NFTChainContents] {
        for _ in 0..<9 {
            do throws(KernelError) {
                return try readContents(of: table)
            } catch {
                guard error.errno == .noSuchFileOrDirectory else { throw error }
            }
        }
        return try readContents(of: table)
    }

    private mutating func readContents(
        of table: String
    ) throws(KernelError) -> [NFTChainContents] {
        // Asking for the sets of a table that is not there is an error, for its rules is not.
        let tables = try dump(NFT_MSG_GETTABLE, table)
        let sets = tables.isEmpty ? [:] : try sets(of: table)
        var rules: [String: [NFTRule]] = [:]
        for attributes in try dump(NFT_MSG_GETRULE, table) {
            let rule = InstalledRule(attributes: attributes)
            let list = attributes.first { $0.type == Int(NFTA_RULE_EXPRESSIONS.rawValue) }
            var reader = NFTRuleReader(sets: sets)
            for element in list?.value.netlinkAttributes(from: 0) ?? [] {
                reader.read(element.value.netlinkAttributes(from: 0))
            }
            rules[rule.chain, default: []].append(
                NFTRule(reader.expressions, comment: rule.comment ?? ""))
        }
        let chains = try dump(NFT_MSG_GETCHAIN, table).compactMap(NFTChain.init(attributes:))
        return (chains.filter { $0.hook != nil } + chains.filter { $0.hook == nil }).map {
            NFTChainContents(chain: $0, rules: rules[$0.name] ?? [])
        }
    }

    /// The sets of the table by name, anonymous ones among them.
    private mutating func sets(of table: String) throws(KernelError) -> [String: NFTSet] {
        var sets: [String: NFTSet] = [:]
        for attributes in try dump(NFT_MSG_GETSET, table) {
            guard let name = attributes.text(NFTA_SET_NAME.rawValue),
                let key = attributes.number(NFTA_SET_KEY_TYPE.rawValue).flatMap(NFTSet.Key.init)
            else { continue }
            let flags = attributes.number(NFTA_SET_FLAGS.rawValue) ?? 0
            let isInterval = flags & UInt32(NFT_SET_INTERVAL.rawValue) != 0
            let elements = try dump(
                NFT_MSG_GETSETELEM, table, (Int(NFTA_SET_ELEM_LIST_SET.rawValue), name)
            ).flatMap { $0.nested(NFTA_SET_ELEM_LIST_ELEMENTS.rawValue) }
            sets[name] = NFTSet(key, elements: elements.map(\.value), isInterval: isInterval)
        }
        return sets
    }
}

extension [NetlinkAttribute] {
    func value(_ type: UInt32) -> [UInt8]? { first { $0.type == Int(type) }?.value }

    func nested(_ type: UInt32) -> [NetlinkAttribute] {
        value(type)?.netlinkAttributes(from: 0) ?? []
    }

    func text(_ type: UInt32) -> String? { value(type).map(String.init(netlink:)) }

    /// nf_tables has its numbers in network order.
    func number(_ type: UInt32) -> UInt32? {
        value(type).map { $0.prefix(4).reduce(0) { $0 << 8 | UInt32($1) } }
    }
}

extension NFTSet {
    /// Puts a set together from its elements: starts of ranges, and first values after them.
    init(_ key: Key, elements: [[UInt8]], isInterval: Bool) {
        let ends = UInt32(NFT_SET_ELEM_INTERVAL_END.rawValue)
        let marks = elements.map { element -> (value: [UInt8], isEnd: Bool) in
            let attributes = element.netlinkAttributes(from: 0)
            let flags = attributes.number(NFTA_SET_ELEM_FLAGS.rawValue) ?? 0
            let key = attributes.nested(NFTA_SET_ELEM_KEY.rawValue)
            return (key.value(NFTA_DATA_VALUE.rawValue) ?? [], flags & ends != 0)
        }.sorted { $0.value.lexicographicallyPrecedes($1.value) }
        var ranges: [Range] = []
        for mark in marks {
            if !mark.isEnd {
                let highest = [UInt8](repeating: 0xff, count: mark.value.count)
                ranges.append(Range(mark.value, isInterval ? highest : mark.value))
            } else if let last = ranges.popLast() {
                ranges.append(Range(last.first, mark.value.predecessor))
            }
        }
        self.init(key, ranges, isInterval: isInterval)
    }
}

extension [UInt8] {
    /// The big-endian number before this one.
    fileprivate var predecessor: [UInt8] {
        guard let place = lastIndex(where: { $0 != 0 }) else { return self }
        var previous = self
        previous[place] -= 1
        for index in (place + 1)..<Swift.max(count, place + 1) { previous[index] = 0xff }
        return previous
    }
}

extension NFTChain {
    init?(attributes: [NetlinkAttribute]) {
        guard let name = attributes.text(NFTA_CHAIN_NAME.rawValue) else { return nil }
        self.init(name)
        let hook = attributes.nested(NFTA_CHAIN_HOOK.rawValue)
        guard let type = attributes.text(NFTA_CHAIN_TYPE.rawValue),
            let point = hook.number(NFTA_HOOK_HOOKNUM.rawValue).flatMap(Hook.Point.init),
            let priority = hook.number(NFTA_HOOK_PRIORITY.rawValue)
        else { return }
        self.hook = Hook(type: type, point, priority: Int32(bitPattern: priority))
    }
}
