// SPDX-License-Identifier: Apache-2.0

internal import CLibNFTNL

/// A set of nf_tables changes to one table that the kernel makes all together or not at all.
///
/// Dropping a batch drops the changes with it, so there is no half-made state to clean up. That
/// is why every change goes through here, never a single message.
package struct NFTBatch: ~Copyable {
    /// `NFPROTO_INET`: one table for both families.
    static let inet: UInt8 = 1
    /// The kernel numbers anonymous sets itself.
    static let anonymousName = "__set%d"
    /// An attribute is at most 64 KiB long, and an element at most 40 bytes.
    private static let elementsPerMessage = 1000

    private let table: String
    private var messages: [[UInt8]] = []
    private var labels: [String] = []
    private var sets: UInt32 = 0

    /// Starts a batch of changes to the `inet` table of this name.
    package init(table: String) { self.table = table }

    /// What goes to the kernel: one datagram, and a name for each message by its number.
    package struct Encoded: Sendable {
        package let bytes: [UInt8]
        /// The first is the batch's beginning, the last its end.
        package let labels: [String]
    }

    // MARK: Changes

    /// Makes the table, or leaves it as it is.
    package mutating func addTable() { put(NFT_MSG_NEWTABLE, flags: NLM_F_CREATE, "add table") }

    /// Removes the table and all that is in it; without it, the batch fails.
    package mutating func deleteTable() { put(NFT_MSG_DELTABLE, flags: 0, "delete table") }

    /// Makes the chain, or leaves it as it is.
    package mutating func add(_ chain: NFTChain) {
        put(chain, NFT_MSG_NEWCHAIN, flags: NLM_F_CREATE, "add chain")
    }

    /// Removes the chain, which nothing may jump to.
    package mutating func delete(_ chain: String) {
        put(NFTChain(chain), NFT_MSG_DELCHAIN, flags: 0, "delete chain")
    }

    /// Removes every rule of the table.
    package mutating func deleteRules() {
        let rule = NFTRuleObject(table: table, chain: nil)
        unsafe put(NFT_MSG_DELRULE, flags: 0, "delete rules") { header in
            unsafe nftnl_rule_nlmsg_build_payload(header, rule.pointer)
        }
    }

    /// Appends the rule to the chain, after the sets it looks into.
    package mutating func add(_ rule: NFTRule, to chain: String) {
        let label = "rule \"\(rule.comment)\" of chain \(chain)"
        let object = NFTRuleObject(table: table, chain: chain)
        object.setComment(rule.comment)
        for expression in rule.expressions {
            if case .isIn(let set) = expression { add(set, for: label) }
            object.add(expression, set: sets)
        }
        unsafe put(NFT_MSG_NEWRULE, flags: NLM_F_CREATE | NLM_F_APPEND, "add \(label)") { header in
            unsafe nftnl_rule_nlmsg_build_payload(header, object.pointer)
        }
    }

    // MARK: Sets

    private mutating func add(_ set: NFTSet, for label: String) {
        sets += 1
        let object = NFTSetObject(table: table, name: Self.anonymousName, id: sets)
        var flags = UInt32(NFT_SET_ANONYMOUS.rawValue | NFT_SET_CONSTANT.rawValue)
        if set.isInterval { flags |= UInt32(NFT_SET_INTERVAL.rawValue) }
        let elements = set.elements
        let facts: [(nftnl_set_attr, UInt32)] = [
            (NFTNL_SET_FLAGS, flags), (NFTNL_SET_KEY_TYPE, set.key.rawValue),
            (NFTNL_SET_KEY_LEN, UInt32(set.key.length)),
            (NFTNL_SET_DESC_SIZE, UInt32(elements.count)),
        ]
        for (attribute, value) in facts {
            unsafe nftnl_set_set_u32(object.pointer, UInt16(attribute.rawValue), value)
        }
        object.setKeyOrder(isHost: !set.isInterval)
        unsafe put(NFT_MSG_NEWSET, flags: NLM_F_CREATE, "add a set for \(label)") { header in
            unsafe nftnl_set_nlmsg_build_payload(header, object.pointer)
        }
        for start in stride(from: 0, to: elements.count, by: Self.elementsPerMessage) {
            add(elements[start...].prefix(Self.elementsPerMessage), for: label)
        }
    }

    private mutating func add(
        _ elements: ArraySlice<(key: [UInt8], isEnd: Bool)>, for label: String
    ) {
        let object = NFTSetObject(table: table, name: Self.anonymousName, id: sets)
        for element in elements { object.add(element.key, isEnd: element.isEnd) }
        unsafe put(NFT_MSG_NEWSETELEM, flags: NLM_F_CREATE, "fill a set for \(label)") { header in
            unsafe nftnl_set_elems_nlmsg_build_payload(header, object.pointer)
        }
    }

    // MARK: Messages

    private mutating func put(_ type: nf_tables_msg_types, flags: CInt, _ label: String) {
        guard let object = unsafe nftnl_table_alloc() else {
            preconditionFailure("out of memory")
        }
        defer { unsafe nftnl_table_free(object) }
        unsafe nftnl_table_set_str(object, UInt16(NFTNL_TABLE_NAME.rawValue), table)
        unsafe put(type, flags: flags, label) { header in
            unsafe nftnl_table_nlmsg_build_payload(header, object)
        }
    }

    private mutating func put(
        _ chain: NFTChain, _ type: nf_tables_msg_types, flags: CInt, _ label: String
    ) {
        guard let object = unsafe nftnl_chain_alloc() else {
            preconditionFailure("out of memory")
        }
        defer { unsafe nftnl_chain_free(object) }
        unsafe nftnl_chain_set_str(object, UInt16(NFTNL_CHAIN_TABLE.rawValue), table)
        unsafe nftnl_chain_set_str(object, UInt16(NFTNL_CHAIN_NAME.rawValue), chain.name)
        if let hook = chain.hook {
            unsafe nftnl_chain_set_str(object, UInt16(NFTNL_CHAIN_TYPE.rawValue), hook.type)
            unsafe nftnl_chain_set_u32(
                object, UInt16(NFTNL_CHAIN_HOOKNUM.rawValue), hook.point.rawValue)
            unsafe nftnl_chain_set_s32(
                object, UInt16(NFTNL_CHAIN_PRIO.rawValue), hook.priority)
            unsafe nftnl_chain_set_u32(
                object, UInt16(NFTNL_CHAIN_POLICY.rawValue), UInt32(NF_ACCEPT))
        }
        unsafe put(type, flags: flags, "\(label) \(chain.name)") { header in
            unsafe nftnl_chain_nlmsg_build_payload(header, object)
        }
    }

    private mutating func put(
        _ type: nf_tables_msg_types, flags: CInt, _ label: String,
        _ fill: (UnsafeMutablePointer<nlmsghdr>) -> Void
    ) {
        // Number 0 is the batch's beginning.
        let message = NFTMessage(type, flags: flags, sequence: UInt32(messages.count + 1))
        unsafe fill(message.header)
        messages.append(message.bytes)
        labels.append(label)
    }

    /// Closes the batch.
    ///
    /// Only the last change asks for an answer: it comes when all is done.
    package consuming func encode() -> Encoded {
        if let last = messages.indices.last {
            // nlmsghdr: length, type, flags, ...
            messages[last][6] |= UInt8(NLM_F_ACK)
        }
        let end = UInt32(messages.count + 1)
        let all =
            [Self.mark(NFNL_MSG_BATCH_BEGIN, 0)] + messages
            + [Self.mark(NFNL_MSG_BATCH_END, end)]
        return Encoded(
            bytes: Array(all.joined()), labels: ["begin batch"] + labels + ["end batch"])
    }

    private static func mark(_ type: CInt, _ sequence: UInt32) -> [UInt8] {
        unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { buffer in
            guard let base = buffer.baseAddress else { return [] }
            let header =
                unsafe type == NFNL_MSG_BATCH_BEGIN
                ? nftnl_batch_begin(base, sequence) : nftnl_batch_end(base, sequence)
            guard let header = unsafe header else { return [] }
            return unsafe Array(
                UnsafeRawBufferPointer(start: header, count: Int(header.pointee.nlmsg_len)))
        }
    }
}

extension NFTSet {
    /// The values as the kernel takes them: a range is its first value and the first one after.
    ///
    /// A range that goes up to the highest value has no end. Without intervals each range is
    /// the one value it holds.
    var elements: [(key: [UInt8], isEnd: Bool)] {
        guard isInterval else { return ranges.map { ($0.first, false) } }
        return ranges.flatMap { range -> [(key: [UInt8], isEnd: Bool)] in
            let end = range.last.successor.map { [($0, true)] } ?? []
            return [(range.first, false)] + end
        }
    }
}

extension [UInt8] {
    /// The next higher big-endian number of the same length, or `nil` after the highest.
    fileprivate var successor: [UInt8]? {
        guard let place = lastIndex(where: { $0 != 0xff }) else { return nil }
        var next = self
        next[place] += 1
        for index in (place + 1)..<Swift.max(count, place + 1) { next[index] = 0 }
        return next
    }
}
