// SPDX-License-Identifier: Apache-2.0

import NFTables
import Testing

/// What goes over the wire, byte by byte.
@Suite struct NFTBatchTests {
    @Test func `a batch is, byte by byte, what it was when it was reviewed`() {
        var batch = NFTBatch(table: "t")
        batch.addTable()
        batch.add(NFTChain("c", hook: NFTChain.Hook(type: "nat", .output, priority: -101)))
        batch.deleteRules()
        let ports = NFTSet(
            .port, [NFTSet.Range([0, 80], [0, 81]), NFTSet.Range([0xff, 0], [0xff, 0xff])])
        batch.add(
            NFTRule(
                [
                    .load(.transportProtocol), .equals([6]),
                    .loadHeader(.transport, offset: 2, length: 2), .isIn(ports), .counter,
                    .redirect(port: 15001),
                ], comment: "outbound"), to: "c")
        batch.delete("old")
        let encoded = batch.encode()
        let expected = Self.reviewed.split(separator: "\n")
            .map { $0.split(separator: "|", maxSplits: 1)[0].trimmingSuffixSpaces }.joined()
        let hex = encoded.bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        #expect(hex == expected)
        #expect(encoded.labels.count == 9)
    }

    @Test(arguments: [
        (NFTSet.Range([0, 0], [0xff, 0xff]), false), (NFTSet.Range([0, 0xff], [0, 0xff]), true),
    ])
    func `a range ends with the next value, and the highest with none`(
        _ range: NFTSet.Range, _ hasEnd: Bool
    ) {
        var empty = NFTBatch(table: "t")
        empty.add(NFTRule([.isIn(NFTSet(.port, []))], comment: ""), to: "c")
        var full = NFTBatch(table: "t")
        full.add(NFTRule([.isIn(NFTSet(.port, [range]))], comment: ""), to: "c")
        // One more message: 52 bytes of headers, 16 for a value and 24 for an end.
        let length = full.encode().bytes.count - empty.encode().bytes.count
        #expect(length == 52 + 16 + (hasEnd ? 24 : 0))
    }

    /// Left the bytes, right what they mean: netlink(7) headers, then attributes.
    private static let reviewed = """
        14000000100001000000000000000000 | BATCH_BEGIN number 0
        0000000a | unspec, subsystem nf_tables
        1c000000000a01040100000000000000 | NFT_MSG_NEWTABLE request create, number 1
        01000000 | inet
        0600010074000000 |   table t
        48000000030a01040200000000000000 | NFT_MSG_NEWCHAIN request create, number 2
        01000000 | inet
        0600010074000000 |   table t
        0600030063000000 |   name c
        14000480080001000000000308000200ffffff9b |   hook
        0800050000000001 |   policy accept
        080007006e617400 |   type nat
        1c000000080a01000300000000000000 | NFT_MSG_DELRULE request, number 3
        01000000 | inet
        0600010074000000 |   table t
        60000000090a01040400000000000000 | NFT_MSG_NEWSET request create, number 4
        01000000 | inet
        0600010074000000 |   table t
        0c0002005f5f736574256400 |   name __set%d
        0800030000000007 |   flags: anonymous, constant, interval
        080004000000000d |   key type inet_service
        0800050000000002 |   key length
        08000a0000000001 |   set id
        0c0009800800010000000003 |   description
        0a000d000004020000000000 |   userdata: keys print in network order
        6c0000000c0a01040500000000000000 | NFT_MSG_NEWSETELEM request create, number 5
        01000000 | inet
        0c0002005f5f736574256400 |   set __set%d
        0800040000000001 |   set id
        0600010074000000 |   table t
        3c000380 |   elements
        100001800c0001800600010000500000 |     from port 80
        1800028008000300000000010c0001800600010000520000 |     up to port 82
        100003800c00018006000100ff000000 |     from port 65280
        58010000060a010c0600000000000000 | NFT_MSG_NEWRULE request create append, number 6
        01000000 | inet
        0600010074000000 |   table t
        0600020063000000 |   chain c
        0f00070000096f7574626f756e640000 |   userdata: the comment
        24010480 |   expressions
        24000180090001006d6574610000000014000280080002000000001008000100 |
        00000001 |     meta
        2c00018008000100636d70002000028008000100000000010800020000000000 |
        0c0003800500010006000000 |     cmp
        340001800c0001007061796c6f61640024000280080001000000000108000200 |
        0000000208000300000000020800040000000002 |     payload
        300001800b0001006c6f6f6b757000002000028008000200000000010c000100 |
        5f5f7365742564000800040000000001 |     lookup
        140001800c000100636f756e7465720004000280 |     counter
        2c0001800e000100696d6d656469617465000000180002800800010000000001 |
        0c000280060001003a990000 |     immediate
        2c0001800a00010072656469720000001c000280080001000000000108000200 |
        000000010800030000000002 |     redir
        24000000050a05000700000000000000 | NFT_MSG_DELCHAIN request ack, number 7
        01000000 | inet
        0600010074000000 |   table t
        080003006f6c6400 |   name old
        14000000110001000800000000000000 | BATCH_END number 8
        0000000a | unspec, subsystem nf_tables
        """
}

extension Substring {
    fileprivate var trimmingSuffixSpaces: Substring {
        var text = self
        while text.last == " " { text.removeLast() }
        return text
    }
}
