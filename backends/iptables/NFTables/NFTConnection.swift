// SPDX-License-Identifier: Apache-2.0

internal import CLibNFTNL
package import LinuxKernel
internal import SystemPackage

/// nf_tables of one namespace.
package struct NFTConnection: ~Copyable {
    var socket: NetlinkSocket

    package static func open(in namespace: NetworkNamespace) throws(KernelError) -> NFTConnection {
        NFTConnection(socket: try NetlinkSocket.open(.netfilter, in: namespace))
    }

    /// Hands a batch to the kernel, which makes all its changes or none.
    ///
    /// An error names the change the kernel refused first.
    package mutating func commit(_ batch: NFTBatch.Encoded) throws(KernelError) {
        let statuses = try socket.exchange(batch.bytes, "send a batch to nf_tables")
        if let refusal = statuses.first(where: { $0.status < 0 }) {
            let number = Int(refusal.sequence)
            let label = batch.labels.indices.contains(number) ? batch.labels[number] : "?"
            throw KernelError("nf_tables: \(label)", Errno(rawValue: -refusal.status))
        }
        // The answer to the last change; without it the batch cannot be said to have happened.
        guard statuses.contains(where: { Int($0.sequence) == batch.labels.count - 2 }) else {
            throw KernelError("nf_tables: end batch", .timedOut, detail: "no answer")
        }
    }

    // MARK: Reading

    /// The names of the chains of `inet` table `table`; empty when there is no such table.
    package mutating func chains(of table: String) throws(KernelError) -> [String] {
        try dump(NFT_MSG_GETCHAIN, table).compactMap { attributes in
            attributes.first { $0.type == Int(NFTA_CHAIN_NAME.rawValue) }
                .map { String(netlink: $0.value) }
        }
    }

    /// Whether there is an `inet` table of the name; it may be empty.
    package mutating func hasTable(_ table: String) throws(KernelError) -> Bool {
        try !dump(NFT_MSG_GETTABLE, table).isEmpty
    }

    /// What a rule in the kernel says of itself.
    package struct InstalledRule: Hashable, Sendable {
        package let chain: String
        package let comment: String?
        /// What its counter has seen; zero without one.
        package let packets: UInt64
    }

    /// The rules of `inet` table `table`, chain by chain, in order.
    package mutating func rules(of table: String) throws(KernelError) -> [InstalledRule] {
        try dump(NFT_MSG_GETRULE, table).map(InstalledRule.init(attributes:))
    }

    /// Asks for all objects of a kind.
    mutating func dump(
        _ type: nf_tables_msg_types, _ table: String, _ part: (type: Int, name: String)? = nil
    ) throws(KernelError) -> [[NetlinkAttribute]] {
        let replies = try dumpMessages(type, family: NFTBatch.inet, table: table, part: part)
        // Kernels differ in whether they filter by table, so it is done again here.
        return replies.map { $0.netlinkAttributes(from: 20) }.filter { attributes in
            attributes.contains { $0.type == 1 && String(netlink: $0.value) == table }
        }
    }

    /// Asks for all objects of a kind, of one table or of every one; family 0 is any.
    ///
    /// A kernel without nf_tables has none.
    mutating func dumpMessages(
        _ type: nf_tables_msg_types, family: UInt8, table: String?,
        part: (type: Int, name: String)?
    ) throws(KernelError) -> [[UInt8]] {
        var message = NetlinkMessage(
            Int(NFNL_SUBSYS_NFTABLES) << 8 | Int(type.rawValue),
            flags: NLM_F_REQUEST | NLM_F_DUMP)
        message.add(header: nfgenmsg(nfgen_family: family, version: 0, res_id: 0))
        // NFTA_CHAIN_TABLE and NFTA_RULE_TABLE are both 1.
        if let table { message.add(Int(NFTA_RULE_TABLE.rawValue), table) }
        if let part { message.add(part.type, part.name) }
        do throws(KernelError) {
            return try socket.dump(message, "list nf_tables\(table.map { " table \($0)" } ?? "")")
        } catch {
            // So nfnetlink says that the kernel has no nf_tables: there is nothing in them.
            guard error.errno == .invalidArgument else { throw error }
            return []
        }
    }
}

typealias NetlinkAttribute = (type: Int, value: [UInt8])

extension NFTConnection.InstalledRule {
    init(attributes: [NetlinkAttribute]) {
        func value(_ type: nft_rule_attributes) -> [UInt8]? {
            attributes.first { $0.type == Int(type.rawValue) }?.value
        }
        chain = value(NFTA_RULE_CHAIN).map(String.init(netlink:)) ?? ""
        comment = value(NFTA_RULE_USERDATA).flatMap(Self.comment(in:))
        packets = value(NFTA_RULE_EXPRESSIONS).map(Self.packets(in:)) ?? 0
    }

    /// The comment in a rule's user data: type, length, value, again and again.
    private static func comment(in data: [UInt8]) -> String? {
        var offset = 0
        while offset + 2 <= data.count {
            let end = offset + 2 + Int(data[offset + 1])
            guard end <= data.count else { return nil }
            if data[offset] == UInt8(NFTNL_UDATA_RULE_COMMENT.rawValue) {
                return String(netlink: Array(data[(offset + 2)..<end]))
            }
            offset = end
        }
        return nil
    }

    /// The packets of the rule's counters.
    private static func packets(in expressions: [UInt8]) -> UInt64 {
        expressions.netlinkAttributes(from: 0).reduce(0) { sum, element in
            let expression = element.value.netlinkAttributes(from: 0)
            let name = expression.first { $0.type == Int(NFTA_EXPR_NAME.rawValue) }?.value
            let data = expression.first { $0.type == Int(NFTA_EXPR_DATA.rawValue) }?.value
            guard let name, let data, String(netlink: name) == "counter" else { return sum }
            let packets = data.netlinkAttributes(from: 0)
                .first { $0.type == Int(NFTA_COUNTER_PACKETS.rawValue) }
            return sum + (packets?.value.reduce(0) { $0 << 8 | UInt64($1) } ?? 0)
        }
    }
}

extension String {
    /// Reads an attribute that is text, with or without the terminating zero.
    init(netlink bytes: [UInt8]) {
        self.init(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
}
