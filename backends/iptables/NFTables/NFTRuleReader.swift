// SPDX-License-Identifier: Apache-2.0

internal import CLibNFTNL
internal import LinuxKernel

/// Reads a rule's instructions as the kernel tells them.
struct NFTRuleReader {
    let sets: [String: NFTSet]
    private(set) var expressions: [NFTExpression] = []
    /// What an instruction put into the register that is not the packet's: a port, a zone.
    private var constant: [UInt8] = []

    init(sets: [String: NFTSet]) { self.sets = sets }

    mutating func read(_ expression: [NetlinkAttribute]) {
        let name = expression.text(NFTA_EXPR_NAME.rawValue) ?? ""
        let data = expression.nested(NFTA_EXPR_DATA.rawValue)
        if name == "immediate", let bytes = Self.constant(data) {
            constant = bytes
        } else {
            expressions.append(read(name, data) ?? .unknown(name))
        }
    }

    private func read(_ name: String, _ data: [NetlinkAttribute]) -> NFTExpression? {
        switch name {
        case "meta": Self.fact(data)
        case "payload": Self.load(data)
        case "bitwise": Self.combination(data)
        case "byteorder": .toNetworkOrder
        case "cmp": Self.comparison(data)
        case "lookup": data.text(NFTA_LOOKUP_SET.rawValue).flatMap { sets[$0] }.map { .isIn($0) }
        case "counter": .counter
        case "redir": .redirect(port: number)
        case "tproxy":
            .assign(
                port: number,
                family: UInt8(truncatingIfNeeded: data.number(NFTA_TPROXY_FAMILY.rawValue) ?? 0))
        case "ct" where data.number(NFTA_CT_KEY.rawValue) == NFT_CT_ZONE.rawValue:
            .zone(UInt16(bigEndian: number))
        case "ct" where data.number(NFTA_CT_KEY.rawValue) == NFT_CT_MARK.rawValue:
            data.number(NFTA_CT_SREG.rawValue) == nil ? .loadConnectionMark : .storeConnectionMark
        case "immediate": Self.verdict(data)
        default: nil
        }
    }

    /// The constant as a big-endian number.
    private var number: UInt16 { constant.prefix(2).reduce(0) { $0 << 8 | UInt16($1) } }

    private static func constant(_ data: [NetlinkAttribute]) -> [UInt8]? {
        data.nested(NFTA_IMMEDIATE_DATA.rawValue).value(NFTA_DATA_VALUE.rawValue)
    }

    private static func combination(_ data: [NetlinkAttribute]) -> NFTExpression? {
        let mask = data.nested(NFTA_BITWISE_MASK.rawValue).value(NFTA_DATA_VALUE.rawValue)
        let flip = data.nested(NFTA_BITWISE_XOR.rawValue).value(NFTA_DATA_VALUE.rawValue)
        guard let mask, let flip else { return nil }
        if flip.allSatisfy({ $0 == 0 }) { return .mask(mask) }
        return flip.map { ~$0 } == mask ? .addBits(flip) : nil
    }

    private static func fact(_ data: [NetlinkAttribute]) -> NFTExpression? {
        let key = data.number(NFTA_META_KEY.rawValue).flatMap(NFTExpression.Meta.init)
        return key.map { .load($0) }
    }

    private static func load(_ data: [NetlinkAttribute]) -> NFTExpression? {
        guard
            let header = data.number(NFTA_PAYLOAD_BASE.rawValue)
                .flatMap(NFTExpression.Header.init),
            let offset = data.number(NFTA_PAYLOAD_OFFSET.rawValue),
            let length = data.number(NFTA_PAYLOAD_LEN.rawValue)
        else { return nil }
        return .loadHeader(header, offset: offset, length: length)
    }

    private static func comparison(_ data: [NetlinkAttribute]) -> NFTExpression? {
        guard data.number(NFTA_CMP_OP.rawValue) == UInt32(NFT_CMP_EQ.rawValue) else { return nil }
        return data.nested(NFTA_CMP_DATA.rawValue).value(NFTA_DATA_VALUE.rawValue).map {
            .equals($0)
        }
    }

    private static func verdict(_ data: [NetlinkAttribute]) -> NFTExpression? {
        let verdict = data.nested(NFTA_IMMEDIATE_DATA.rawValue).nested(NFTA_DATA_VERDICT.rawValue)
        let chain = verdict.text(NFTA_VERDICT_CHAIN.rawValue)
        guard let code = verdict.number(NFTA_VERDICT_CODE.rawValue) else { return nil }
        switch Int32(bitPattern: code) {
        case NF_DROP: return .drop
        case NFT_RETURN.rawValue: return .return
        case NFT_JUMP.rawValue: return chain.map { .jump($0) }
        case NFT_GOTO.rawValue: return chain.map { .goto($0) }
        default: return nil
        }
    }
}
