// SPDX-License-Identifier: Apache-2.0

internal import CLibNFTNL

extension NFTRuleObject {
    /// Adds the instructions of one step; `set` is the number of the set it looks into.
    func add(_ expression: NFTExpression, set: UInt32) {
        switch expression {
        case .load(let key): load(key)
        case .loadHeader(let header, let offset, let length): load(header, offset, length)
        case .mask(let bits): combine(mask: bits, flip: bits.map { _ in 0 })
        case .addBits(let bits): combine(mask: bits.map { ~$0 }, flip: bits)
        case .loadConnectionMark:
            track(NFT_CT_MARK, UInt16(NFTNL_EXPR_CT_DREG))
        case .storeConnectionMark:
            track(NFT_CT_MARK, UInt16(NFTNL_EXPR_CT_SREG))
        case .toNetworkOrder: toNetworkOrder()
        case .equals(let bytes): compare(bytes)
        case .isIn: lookUp(set)
        case .counter: unsafe add("counter") { _ in }
        case .redirect(let port): redirect(to: port)
        case .assign(let port, let family): assign(to: port, family)
        case .zone(let zone): choose(zone)
        case .drop: decide(NF_DROP, nil)
        case .return: decide(NFT_RETURN.rawValue, nil)
        case .jump(let chain): decide(NFT_JUMP.rawValue, chain)
        case .goto(let chain): decide(NFT_GOTO.rawValue, chain)
        case .unknown(let name): preconditionFailure("\(name) cannot be written")
        }
    }

    private static let register = UInt32(NFT_REG_1.rawValue)

    private func load(_ key: NFTExpression.Meta) {
        unsafe add("meta") { meta in
            unsafe nftnl_expr_set_u32(meta, UInt16(NFTNL_EXPR_META_KEY), key.rawValue)
            unsafe nftnl_expr_set_u32(meta, UInt16(NFTNL_EXPR_META_DREG), Self.register)
        }
    }

    private func load(_ header: NFTExpression.Header, _ offset: UInt32, _ length: UInt32) {
        unsafe add("payload") { payload in
            unsafe nftnl_expr_set_u32(
                payload, UInt16(NFTNL_EXPR_PAYLOAD_BASE), header.rawValue)
            unsafe nftnl_expr_set_u32(payload, UInt16(NFTNL_EXPR_PAYLOAD_OFFSET), offset)
            unsafe nftnl_expr_set_u32(payload, UInt16(NFTNL_EXPR_PAYLOAD_LEN), length)
            unsafe nftnl_expr_set_u32(payload, UInt16(NFTNL_EXPR_PAYLOAD_DREG), Self.register)
        }
    }

    private func combine(mask: [UInt8], flip: [UInt8]) {
        let length = UInt32(mask.count)
        unsafe add("bitwise") { bitwise in
            unsafe nftnl_expr_set_u32(bitwise, UInt16(NFTNL_EXPR_BITWISE_SREG), Self.register)
            unsafe nftnl_expr_set_u32(bitwise, UInt16(NFTNL_EXPR_BITWISE_DREG), Self.register)
            unsafe nftnl_expr_set_u32(bitwise, UInt16(NFTNL_EXPR_BITWISE_LEN), length)
            unsafe nftnl_expr_set(bitwise, UInt16(NFTNL_EXPR_BITWISE_MASK), mask, length)
            unsafe nftnl_expr_set(bitwise, UInt16(NFTNL_EXPR_BITWISE_XOR), flip, length)
        }
    }

    private func compare(_ bytes: [UInt8]) {
        unsafe add("cmp") { compare in
            unsafe nftnl_expr_set_u32(compare, UInt16(NFTNL_EXPR_CMP_SREG), Self.register)
            unsafe nftnl_expr_set_u32(
                compare, UInt16(NFTNL_EXPR_CMP_OP), UInt32(NFT_CMP_EQ.rawValue))
            unsafe nftnl_expr_set(
                compare, UInt16(NFTNL_EXPR_CMP_DATA), bytes, UInt32(bytes.count))
        }
    }

    private func lookUp(_ set: UInt32) {
        unsafe add("lookup") { lookup in
            unsafe nftnl_expr_set_u32(lookup, UInt16(NFTNL_EXPR_LOOKUP_SREG), Self.register)
            unsafe nftnl_expr_set_str(
                lookup, UInt16(NFTNL_EXPR_LOOKUP_SET), NFTBatch.anonymousName)
            unsafe nftnl_expr_set_u32(lookup, UInt16(NFTNL_EXPR_LOOKUP_SET_ID), set)
        }
    }

    private func toNetworkOrder() {
        unsafe add("byteorder") { order in
            unsafe nftnl_expr_set_u32(order, UInt16(NFTNL_EXPR_BYTEORDER_SREG), Self.register)
            unsafe nftnl_expr_set_u32(order, UInt16(NFTNL_EXPR_BYTEORDER_DREG), Self.register)
            unsafe nftnl_expr_set_u32(
                order, UInt16(NFTNL_EXPR_BYTEORDER_OP), UInt32(NFT_BYTEORDER_HTON.rawValue))
            unsafe nftnl_expr_set_u32(order, UInt16(NFTNL_EXPR_BYTEORDER_LEN), 4)
            unsafe nftnl_expr_set_u32(order, UInt16(NFTNL_EXPR_BYTEORDER_SIZE), 4)
        }
    }

    /// Loads two bytes that are not the packet's.
    private func load(_ bytes: [UInt8]) {
        unsafe add("immediate") { immediate in
            unsafe nftnl_expr_set_u32(immediate, UInt16(NFTNL_EXPR_IMM_DREG), Self.register)
            unsafe nftnl_expr_set(
                immediate, UInt16(NFTNL_EXPR_IMM_DATA), bytes, UInt32(bytes.count))
        }
    }

    private func load(port: UInt16) { load([UInt8(port >> 8), UInt8(port & 0xff)]) }

    private func choose(_ zone: UInt16) {
        // The kernel takes it in the host's order.
        load([UInt8(zone.bigEndian >> 8), UInt8(zone.bigEndian & 0xff)])
        track(NFT_CT_ZONE, UInt16(NFTNL_EXPR_CT_SREG))
    }

    /// Moves a fact about the connection to or from the register.
    private func track(_ key: nft_ct_keys, _ direction: UInt16) {
        unsafe add("ct") { tracking in
            unsafe nftnl_expr_set_u32(
                tracking, UInt16(NFTNL_EXPR_CT_KEY), UInt32(key.rawValue))
            unsafe nftnl_expr_set_u32(tracking, direction, Self.register)
        }
    }

    private func assign(to port: UInt16, _ family: UInt8) {
        load(port: port)
        unsafe add("tproxy") { assignment in
            unsafe nftnl_expr_set_u32(
                assignment, UInt16(NFTNL_EXPR_TPROXY_FAMILY), UInt32(family))
            unsafe nftnl_expr_set_u32(
                assignment, UInt16(NFTNL_EXPR_TPROXY_REG_PORT), Self.register)
        }
    }

    private func redirect(to port: UInt16) {
        load(port: port)
        unsafe add("redir") { redirection in
            for end in [NFTNL_EXPR_REDIR_REG_PROTO_MIN, NFTNL_EXPR_REDIR_REG_PROTO_MAX] {
                unsafe nftnl_expr_set_u32(redirection, UInt16(end), Self.register)
            }
            unsafe nftnl_expr_set_u32(
                redirection, UInt16(NFTNL_EXPR_REDIR_FLAGS), UInt32(NF_NAT_RANGE_PROTO_SPECIFIED))
        }
    }

    private func decide(_ verdict: Int32, _ chain: String?) {
        unsafe add("immediate") { immediate in
            unsafe nftnl_expr_set_u32(
                immediate, UInt16(NFTNL_EXPR_IMM_DREG), UInt32(NFT_REG_VERDICT.rawValue))
            unsafe nftnl_expr_set_u32(
                immediate, UInt16(NFTNL_EXPR_IMM_VERDICT), UInt32(bitPattern: verdict))
            if let chain {
                unsafe nftnl_expr_set_str(immediate, UInt16(NFTNL_EXPR_IMM_CHAIN), chain)
            }
        }
    }
}
