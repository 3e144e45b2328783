// SPDX-License-Identifier: Apache-2.0

package import NFTables
internal import RedirectionModel

/// A chain of our nf_tables table and what is in it.
package struct NFTChainContents: Hashable, Sendable {
    package let chain: NFTChain
    package let rules: [NFTRule]
}

extension RuleSet {
    /// The `inet` table everything lives in.
    package static let nftTable = "swerve"
    /// No packet goes here: its one rule says which plan the table belongs to.
    static let nftPlanChain = "plan"

    /// The rule set as chains, hooks first.
    package var nftChains: [NFTChainContents] {
        let plan = NFTRule([.return], comment: "plan \(fingerprint)")
        return hooks.map { hook in
            NFTChainContents(
                chain: NFTChain(hook.point.nftName, hook: hook.point.nftHook),
                rules: [hook.rule.nft])
        } + [NFTChainContents(chain: NFTChain(Self.nftPlanChain), rules: [plan])]
            + chains.map { chain in
                NFTChainContents(
                    chain: NFTChain(chain.name.rawValue), rules: chain.rules.map(\.nft))
            }
    }
}

extension Hook.Point {
    package var nftName: String {
        switch self {
        case .natOutput: "output"
        case .natPrerouting: "prerouting"
        case .filterOutput: "filter_output"
        case .filterInput: "filter_input"
        }
    }

    /// Where the base chain stands: before everybody else's destination NAT, at -100.
    ///
    /// What is to be redirected must not have been sent elsewhere already. At -100 itself, who
    /// comes first would depend on who registered last.
    package var nftHook: NFTChain.Hook {
        switch self {
        case .natOutput: NFTChain.Hook(type: "nat", .output, priority: -101)
        case .natPrerouting: NFTChain.Hook(type: "nat", .prerouting, priority: -101)
        case .filterOutput: NFTChain.Hook(type: "filter", .output, priority: 0)
        case .filterInput: NFTChain.Hook(type: "filter", .input, priority: 0)
        }
    }
}

extension Rule {
    /// The family the rule is limited to, `nil` when it is for both.
    var onlyFamily: AddressFamily? { families.count == 1 ? families.first : nil }

    var nft: NFTRule {
        var steps: [NFTExpression] = []
        if let family = onlyFamily {
            steps += [.load(.family), .equals([family == .ipv4 ? 2 : 10])]
        }
        if needsTCP { steps += [.load(.transportProtocol), .equals([6])] }
        return NFTRule(steps + (match?.nft ?? []) + [.counter, action.nft], comment: comment)
    }

    /// Whether TCP must be established before the match or the action makes sense.
    var needsTCP: Bool {
        switch (match, action) {
        case (.tcp, _), (.newTCP, _), (.destinationPorts, _): true
        case (_, .decide(let verdict)): verdict.action != .pass && verdict.action != .drop
        default: false
        }
    }
}

extension Rule.Match {
    fileprivate var nft: [NFTExpression] {
        switch self {
        case .tcp: []
        case .newTCP:
            // The flags' byte of the header: SYN, and none of ACK, RST and FIN.
            [.loadHeader(.transport, offset: 13, length: 1), .mask([0x17]), .equals([0x02])]
        case .inInterfaces(let names): [.load(.inInterfaceName), .isIn(NFTSet(names: names))]
        case .outInterfaces(let names): [.load(.outInterfaceName), .isIn(NFTSet(names: names))]
        case .uids(let ids): [.load(.socketUID), .isIn(NFTSet(.uid, ids: ids))]
        case .gids(let ids): [.load(.socketGID), .isIn(NFTSet(.gid, ids: ids))]
        case .sources(let addresses): addresses.nft(offsets: (12, 8))
        case .destinations(let addresses): addresses.nft(offsets: (16, 24))
        case .destinationPorts(let ports):
            [.loadHeader(.transport, offset: 2, length: 2), .isIn(NFTSet(ports))]
        }
    }
}

extension Rule.Action {
    fileprivate var nft: NFTExpression {
        switch self {
        case .jump(let chain): .jump(chain.rawValue)
        case .goto(let chain): .goto(chain.rawValue)
        case .decide(let verdict):
            switch verdict.action {
            case .pass: .return
            case .drop: .drop
            case .redirectOutbound(let port), .redirectInbound(let port), .redirectDNS(let port):
                .redirect(port: port)
            }
        }
    }
}

extension AddressRanges {
    /// Loads the address at its offset in the IPv4 or the IPv6 header, and looks it up.
    fileprivate func nft(offsets: (ipv4: UInt32, ipv6: UInt32)) -> [NFTExpression] {
        let offset = family == .ipv4 ? offsets.ipv4 : offsets.ipv6
        let length = family == .ipv4 ? 4 : 16
        let key: NFTSet.Key = family == .ipv4 ? .ipv4Address : .ipv6Address
        let set = NFTSet(
            key,
            ranges.map { range in
                NFTSet.Range(
                    range.lowerBound.bytes.suffix(length), range.upperBound.bytes.suffix(length))
            })
        return [.loadHeader(.network, offset: offset, length: UInt32(length)), .isIn(set)]
    }
}

extension NFTSet {
    fileprivate init(_ ports: PortSet) {
        let ranges = ports.ranges.map {
            Range($0.lowerBound.bigEndianBytes, $0.upperBound.bigEndianBytes)
        }
        self.init(.port, ranges)
    }

    /// Ids are compared in the host's byte order, as the kernel loads them.
    fileprivate init(_ key: Key, ids: IDSet) {
        let values = ids.ranges.map { $0.lowerBound.bigEndian.bigEndianBytes }
        self.init(key, values.map { Range($0, $0) })
    }

    /// Interface names fill 16 bytes with zeros.
    fileprivate init(names: Set<InterfacePattern>) {
        self.init(
            .interfaceName,
            names.sorted().map { name in
                let bytes = Array(name.name.utf8)
                return bytes + [UInt8](repeating: 0, count: max(0, 16 - bytes.count))
            }.map { Range($0, $0) })
    }
}

extension FixedWidthInteger {
    fileprivate var bigEndianBytes: [UInt8] {
        let bytes = Self.bitWidth / 8
        return (1...bytes).map { UInt8(truncatingIfNeeded: self >> (Self.bitWidth - 8 * $0)) }
    }
}
