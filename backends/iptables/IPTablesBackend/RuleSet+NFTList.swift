// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
package import NFTables
internal import RedirectionModel

extension RuleSet {
    /// The table as `nft --stateless list ruleset` prints it, but for line breaks within sets.
    package var nftText: String { Self.nftText(nftChains) }

    /// Some chains as that table.
    package static func nftText(_ contents: [NFTChainContents]) -> String {
        guard !contents.isEmpty else { return "" }
        let chains = contents.map { content in
            let hook = content.chain.hook.map { ["\t\t\($0.listing)\n"] } ?? []
            let lines = hook + content.rules.map { "\t\t\($0.listing)\n" }
            return "\tchain \(content.chain.name) {\n" + lines.joined() + "\t}\n"
        }
        return "table inet \(nftTable) {\n\(chains.joined(separator: "\n"))}\n"
    }
}

extension Rule {
    /// The rule as `nft list` prints it, a line for each there is of it.
    package var nftLines: [String] { nft.map(\.listing) }
}

extension NFTChain.Hook {
    /// nft(8) has names for some priorities, and each only where it belongs.
    var listing: String {
        let named: [(Int32, String)] =
            [(-300, "raw"), (-150, "mangle"), (0, "filter")]
            + (point == .prerouting ? [(-100, "dstnat")] : [])
        let text = named.lazy.compactMap { value, name -> String? in
            switch priority - value {
            case 0: name
            case -1: "\(name) - 1"
            default: nil
            }
        }.first
        return "type \(type) hook \(point) priority \(text ?? "\(priority)"); policy accept;"
    }
}

extension NFTRule {
    /// The rule as `nft --stateless list` prints it.
    package var listing: String {
        var writer = NFTRuleListing()
        for expression in expressions { writer.take(expression) }
        // What a later condition says by itself is left out.
        let conditions = writer.conditions.filter { condition in
            switch condition.kind {
            case .family: !writer.conditions.contains { $0.kind == .address }
            case .transport: !writer.conditions.contains { $0.kind == .port }
            default: true
            }
        }
        let words = conditions.map(\.text) + writer.statements + ["comment \"\(comment)\""]
        return words.joined(separator: " ")
    }
}

/// Reads a rule's instructions back into the words they came from.
private struct NFTRuleListing {
    enum Kind {
        case family, transport, address, port, mark, other
    }

    var conditions: [(kind: Kind, text: String)] = []
    var statements: [String] = []
    /// What the register holds: its kind, and the words for it.
    private var loaded: (kind: Kind, text: String) = (.other, "")
    private var transport = "th"

    mutating func take(_ expression: NFTExpression) {
        switch expression {
        case .load(let key): loaded = Self.words(key)
        case .loadHeader(let header, let offset, _): loaded = words(header, offset)
        case .mask, .toNetworkOrder: break
        case .loadConnectionMark: loaded = (.mark, "ct mark")
        case .addBits(let bits): loaded.text += " | \(Self.hexadecimal(bits))"
        case .storeConnectionMark: statements.append("ct mark set \(loaded.text)")
        case .equals(let bytes): compare(bytes)
        case .isIn(let set):
            let elements = set.listing.joined(separator: ", ")
            conditions.append((loaded.kind, "\(loaded.text) { \(elements) }"))
        case .counter: statements.append("counter")
        case .redirect(let port): statements.append("redirect to :\(port)")
        case .assign(let port, let family):
            let word = [2: "ip ", 10: "ip6 "][family] ?? ""
            statements.append("tproxy \(word)to :\(port)")
        case .zone(let zone): statements.append("ct zone set \(zone)")
        case .drop: statements.append("drop")
        case .return: statements.append("return")
        case .jump(let chain): statements.append("jump \(chain)")
        case .goto(let chain): statements.append("goto \(chain)")
        case .unknown(let name): statements.append("[\(name)]")
        }
    }

    private static func words(_ key: NFTExpression.Meta) -> (kind: Kind, text: String) {
        switch key {
        case .inInterfaceName: (.other, "iifname")
        case .outInterfaceName: (.other, "oifname")
        case .socketUID: (.other, "meta skuid")
        case .socketGID: (.other, "meta skgid")
        case .family: (.family, "meta nfproto")
        case .transportProtocol: (.transport, "meta l4proto")
        }
    }

    private func words(
        _ header: NFTExpression.Header, _ offset: UInt32
    ) -> (kind: Kind, text: String) {
        switch (header, offset) {
        case (.network, 12): (.address, "ip saddr")
        case (.network, 16): (.address, "ip daddr")
        case (.network, 8): (.address, "ip6 saddr")
        case (.network, 24): (.address, "ip6 daddr")
        case (.network, _): (.other, "@nh,\(offset)")
        case (.transport, 0): (.port, "\(transport) sport")
        case (.transport, 2): (.port, "\(transport) dport")
        case (.transport, 13): (.port, "\(transport) flags")
        case (.transport, _): (.other, "@th,\(offset)")
        }
    }

    /// Four bytes in the host's order, which is how a register holds a mark.
    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        let value = UInt32(bigEndian: bytes.reduce(0) { $0 << 8 | UInt32($1) })
        let digits = String(value, radix: 16)
        return "0x" + String(repeating: "0", count: 8 - digits.count) + digits
    }

    private mutating func compare(_ bytes: [UInt8]) {
        switch (loaded.kind, bytes) {
        case (.family, [2]): conditions.append((.family, "\(loaded.text) ipv4"))
        case (.family, [10]): conditions.append((.family, "\(loaded.text) ipv6"))
        case (.transport, [6]), (.transport, [17]):
            transport = bytes == [6] ? "tcp" : "udp"
            conditions.append((.transport, "\(loaded.text) \(transport)"))
        case (.port, [0]): conditions.append((.port, "\(loaded.text) ! syn"))
        case (.mark, _):
            let bits = Self.hexadecimal(bytes)
            conditions.append((.mark, "\(loaded.text) & \(bits) == \(bits)"))
        case (.port, [2]): conditions.append((.port, "\(loaded.text) syn / fin,syn,rst,ack"))
        default:
            let name = String(decoding: bytes, as: UTF8.self)
            conditions.append((.other, "\(loaded.text) \"\(name)*\""))
        }
    }
}

extension NFTSet {
    /// The elements as nft(8) prints them.
    fileprivate var listing: [String] {
        ranges.map { range in
            switch key {
            case .ipv4Address, .ipv6Address: Self.addresses(range)
            case .interfaceName:
                "\"" + String(decoding: range.first.prefix { $0 != 0 }, as: UTF8.self) + "\""
            case .port, .uid, .gid: numbers(range)
            }
        }
    }

    private func numbers(_ range: Range) -> String {
        func number(_ bytes: [UInt8]) -> UInt32 {
            let value = bytes.reduce(0) { $0 << 8 | UInt32($1) }
            return isInterval ? value : UInt32(bigEndian: value)
        }
        let (first, last) = (number(range.first), number(range.last))
        return first == last ? "\(first)" : "\(first)-\(last)"
    }

    /// A range that is a network as one, an address bare.
    private static func addresses(_ range: Range) -> String {
        guard let first = IPAddress(wireBytes: range.first),
            let last = IPAddress(wireBytes: range.last)
        else { return "?" }
        if first == last { return "\(first)" }
        let networks = AddressRanges(range.first.count == 4 ? .ipv4 : .ipv6, first...last).networks
        return networks.count == 1 ? networks.map { "\($0)" }.joined() : "\(first)-\(last)"
    }
}
