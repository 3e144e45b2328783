// SPDX-License-Identifier: Apache-2.0

internal import CLibNFTNL

/// Room for one netlink message of nf_tables, laid out by libnftnl.
@safe
struct NFTMessage: ~Copyable {
    /// An attribute is at most 64 KiB long, and no message of ours has two that long.
    private static let capacity = 1 << 17

    private let buffer: UnsafeMutablePointer<CChar>
    let header: UnsafeMutablePointer<nlmsghdr>

    /// Starts a message: `NFT_MSG_*`, `NLM_F_*`.
    init(_ type: nf_tables_msg_types, flags: CInt, sequence: UInt32) {
        unsafe buffer = .allocate(capacity: Self.capacity)
        // Attributes are padded to 4 bytes, and libmnl leaves the padding as it finds it.
        unsafe buffer.initialize(repeating: 0, count: Self.capacity)
        unsafe header = nftnl_nlmsg_build_hdr(
            buffer, UInt16(type.rawValue), UInt16(NFTBatch.inet), UInt16(NLM_F_REQUEST | flags),
            sequence)
    }

    deinit { unsafe buffer.deallocate() }

    var bytes: [UInt8] {
        unsafe Array(UnsafeRawBufferPointer(start: header, count: Int(header.pointee.nlmsg_len)))
    }
}

/// A rule as libnftnl keeps it: an owner for the pointer, and nothing more.
@safe
struct NFTRuleObject: ~Copyable {
    let pointer: OpaquePointer

    init(table: String, chain: String?) {
        guard let rule = unsafe nftnl_rule_alloc() else { preconditionFailure("out of memory") }
        unsafe pointer = rule
        unsafe nftnl_rule_set_str(rule, UInt16(NFTNL_RULE_TABLE.rawValue), table)
        if let chain { unsafe nftnl_rule_set_str(rule, UInt16(NFTNL_RULE_CHAIN.rawValue), chain) }
    }

    deinit { unsafe nftnl_rule_free(pointer) }

    /// Says what nft(8) prints as `comment "..."`.
    func setComment(_ text: String) {
        guard let buffer = unsafe nftnl_udata_buf_alloc(256) else { return }
        defer { unsafe nftnl_udata_buf_free(buffer) }
        unsafe nftnl_udata_put_strz(buffer, UInt8(NFTNL_UDATA_RULE_COMMENT.rawValue), text)
        unsafe nftnl_rule_set_data(
            pointer, UInt16(NFTNL_RULE_USERDATA.rawValue), nftnl_udata_buf_data(buffer),
            nftnl_udata_buf_len(buffer))
    }

    /// Adds an instruction; the rule owns it from then on.
    func add(_ name: String, _ fill: (OpaquePointer) -> Void) {
        guard let expression = unsafe nftnl_expr_alloc(name) else {
            preconditionFailure("libnftnl knows no expression \(name)")
        }
        unsafe fill(expression)
        unsafe nftnl_rule_add_expr(pointer, expression)
    }
}

/// A set as libnftnl keeps it.
@safe
struct NFTSetObject: ~Copyable {
    let pointer: OpaquePointer

    init(table: String, name: String, id: UInt32) {
        guard let set = unsafe nftnl_set_alloc() else { preconditionFailure("out of memory") }
        unsafe pointer = set
        unsafe nftnl_set_set_str(set, UInt16(NFTNL_SET_TABLE.rawValue), table)
        unsafe nftnl_set_set_str(set, UInt16(NFTNL_SET_NAME.rawValue), name)
        unsafe nftnl_set_set_u32(set, UInt16(NFTNL_SET_ID.rawValue), id)
        unsafe nftnl_set_set_u32(
            set, UInt16(NFTNL_SET_FAMILY.rawValue), UInt32(NFTBatch.inet))
    }

    deinit { unsafe nftnl_set_free(pointer) }

    /// Says in which byte order nft(8) shall print the keys: `enum byteorder` of its source.
    func setKeyOrder(isHost: Bool) {
        guard let buffer = unsafe nftnl_udata_buf_alloc(64) else { return }
        defer { unsafe nftnl_udata_buf_free(buffer) }
        unsafe nftnl_udata_put_u32(
            buffer, UInt8(NFTNL_UDATA_SET_KEYBYTEORDER.rawValue), isHost ? 1 : 2)
        unsafe nftnl_set_set_data(
            pointer, UInt16(NFTNL_SET_USERDATA.rawValue), nftnl_udata_buf_data(buffer),
            nftnl_udata_buf_len(buffer))
    }

    /// Adds a value; `isEnd` makes it the first after a range.
    func add(_ key: [UInt8], isEnd: Bool) {
        guard let element = unsafe nftnl_set_elem_alloc() else { return }
        unsafe nftnl_set_elem_set(element, UInt16(NFTNL_SET_ELEM_KEY), key, UInt32(key.count))
        if isEnd {
            unsafe nftnl_set_elem_set_u32(
                element, UInt16(NFTNL_SET_ELEM_FLAGS),
                UInt32(NFT_SET_ELEM_INTERVAL_END.rawValue))
        }
        unsafe nftnl_set_elem_add(pointer, element)
    }
}
