// SPDX-License-Identifier: Apache-2.0

package import NFTables
internal import RedirectionModel

extension RuleSet {
    /// The `inet` table everything lives in.
    package static let nftTable = "swerve"
    /// No packet goes here: its one rule says which plan the table belongs to.
    static let nftPlanChain = "plan"

    /// The rule set as chains, hooks first.
    package var nftChains: [NFTChainContents] {
        let plan = NFTRule([.return], comment: planComment)
        return hooksByPoint.map { point, rules in
            NFTChainContents(
                chain: NFTChain(point.nftName, hook: point.nftHook), rules: rules.flatMap(\.nft))
        } + [NFTChainContents(chain: NFTChain(Self.nftPlanChain), rules: [plan])]
            + chains.map { chain in
                NFTChainContents(
                    chain: NFTChain(chain.name.rawValue), rules: chain.rules.flatMap(\.nft))
            }
    }
}

extension Hook.Point {
    package var nftName: String {
        switch self {
        case .rawOutput: "raw_output"
        case .rawPrerouting: "raw_prerouting"
        case .mangleOutput: "mangle_output"
        case .manglePrerouting: "mangle_prerouting"
        case .natOutput: "output"
        case .natPrerouting: "prerouting"
        case .filterInput: "filter_input"
        }
    }

    /// Where the base chain stands: just before others of its kind.
    ///
    /// What is to be redirected must not have been sent elsewhere by somebody's destination NAT,
    /// at -100, already. At -100 itself, who comes first would depend on who registered last.
    package var nftHook: NFTChain.Hook {
        switch self {
        case .rawOutput: NFTChain.Hook(type: "filter", .output, priority: -301)
        case .rawPrerouting: NFTChain.Hook(type: "filter", .prerouting, priority: -301)
        case .mangleOutput: NFTChain.Hook(type: "filter", .output, priority: -151)
        case .manglePrerouting: NFTChain.Hook(type: "filter", .prerouting, priority: -151)
        case .natOutput: NFTChain.Hook(type: "nat", .output, priority: -101)
        case .natPrerouting: NFTChain.Hook(type: "nat", .prerouting, priority: -101)
        case .filterInput: NFTChain.Hook(type: "filter", .input, priority: 0)
        }
    }
}

extension Rule {
    /// The family the rule is limited to, `nil` when it is for both.
    var onlyFamily: AddressFamily? { families.count == 1 ? families.first : nil }

    /// The rule as nf_tables has it; most rules are one there, too.
    var nft: [NFTRule] {
        let matches = match?.nft ?? [[]]
        return matches.flatMap { match in
            let conditions = nftConditions + match
            let rule = NFTRule(conditions + [.counter] + nftStatements, comment: comment)
            // No socket listens: as closed as a port that nobody listens on.
            let closed = NFTRule(conditions + [.counter, .drop], comment: "nobody listens")
            // By itself, for it ends where connections are not tracked.
            let remember: [NFTExpression] = [
                .loadConnectionMark, .addBits(RuleSet.rememberedBytes), .storeConnectionMark,
            ]
            switch action {
            case .assign:
                return [NFTRule(conditions + remember, comment: "remember"), rule, closed]
            case .assignLater: return [rule, closed]
            default: return [rule]
            }
        }
    }

    private var nftStatements: [NFTExpression] {
        let family = onlyFamily?.nft ?? 0
        switch action {
        case .assign(let verdict):
            guard let port = verdict.action.port else { return [action.nft] }
            return [.assign(port: port, family: family), .return]
        case .assignLater(let port): return [.assign(port: port, family: family), .return]
        default: return [action.nft]
        }
    }

    private var nftConditions: [NFTExpression] {
        var steps: [NFTExpression] = []
        if let family = onlyFamily {
            steps += [.load(.family), .equals([family.nft])]
        }
        switch carrier {
        case .tcp: steps += [.load(.transportProtocol), .equals([6])]
        case .udp: steps += [.load(.transportProtocol), .equals([17])]
        case nil: break
        }
        return steps
    }
}

extension Rule.Match {
    /// What it takes to match, in as many ways as there are.
    fileprivate var nft: [[NFTExpression]] {
        switch self {
        case .newTCP: [Self.isFirstSegment]
        case .newTCPToPorts(let ports): [Self.isFirstSegment + Self.isTo(ports)]
        case .remembered:
            [
                [
                    .loadHeader(.transport, offset: 13, length: 1), .mask([0x02]), .equals([0]),
                    .loadConnectionMark, .mask(RuleSet.rememberedBytes),
                    .equals(RuleSet.rememberedBytes),
                ]
            ]
        case .inInterfaces(let names): names.nft(.inInterfaceName)
        case .outInterfaces(let names): names.nft(.outInterfaceName)
        case .uids(let ids): [[.load(.socketUID)] + ids.nft(.uid)]
        case .gids(let ids): [[.load(.socketGID)] + ids.nft(.gid)]
        case .sources(let addresses): [addresses.nft(offsets: (12, 8))]
        case .destinations(let addresses): [addresses.nft(offsets: (16, 24))]
        case .sourcePorts(let ports):
            [[.loadHeader(.transport, offset: 0, length: 2), .isIn(NFTSet(ports))]]
        case .destinationPorts(let ports): [Self.isTo(ports)]
        }
    }

    /// The flags' byte of the header: SYN, and none of ACK, RST and FIN.
    private static let isFirstSegment: [NFTExpression] = [
        .loadHeader(.transport, offset: 13, length: 1), .mask([0x17]), .equals([0x02]),
    ]

    private static func isTo(_ ports: PortSet) -> [NFTExpression] {
        [.loadHeader(.transport, offset: 2, length: 2), .isIn(NFTSet(ports))]
    }
}

extension Rule.Action {
    fileprivate var nft: NFTExpression {
        switch self {
        case .jump(let chain): .jump(chain.rawValue)
        case .goto(let chain): .goto(chain.rawValue)
        case .leave: .return
        case .zone(let zone): .zone(zone)
        case .assignLater: .return
        case .decide(let verdict), .assign(let verdict):
            if let port = verdict.action.port {
                .redirect(port: port)
            } else {
                verdict.action == .drop ? .drop : .return
            }
        }
    }
}

extension AddressFamily {
    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`.
    fileprivate var nft: UInt8 { self == .ipv4 ? 2 : 10 }
}

extension Action {
    /// Where a redirection leads.
    var port: UInt16? {
        switch self {
        case .pass, .drop: nil
        case .redirectOutbound(let port), .redirectInbound(let port), .redirectDNS(let port): port
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
}

extension IDSet {
    /// Looks the loaded id up: single ids in the host's byte order, as the kernel loads them,
    /// ranges in the one in which they follow each other.
    fileprivate func nft(_ key: NFTSet.Key) -> [NFTExpression] {
        let set = NFTSet(
            key,
            ranges.map { NFTSet.Range($0.lowerBound.bigEndianBytes, $0.upperBound.bigEndianBytes) })
        guard !set.isInterval else { return [.toNetworkOrder, .isIn(set)] }
        let values = ranges.map { $0.lowerBound.bigEndian.bigEndianBytes }
        return [.isIn(NFTSet(key, values.map { NFTSet.Range($0, $0) }))]
    }
}

extension Set<InterfacePattern> {
    /// Whole names are one set, filled up to 16 bytes with zeros; each beginning is by itself.
    fileprivate func nft(_ key: NFTExpression.Meta) -> [[NFTExpression]] {
        let names = sorted().filter { !$0.isPrefix }.map { Array($0.name.utf8) }
        let whole = names.map { $0 + [UInt8](repeating: 0, count: Swift.max(0, 16 - $0.count)) }
        let set = NFTSet(.interfaceName, whole.map { NFTSet.Range($0, $0) })
        return (whole.isEmpty ? [] : [[.load(key), .isIn(set)]])
            + sorted().filter(\.isPrefix).map { [.load(key), .equals(Array($0.name.utf8))] }
    }
}

extension RuleSet {
    /// The bit that remembers, as it lies in a register of the kernel.
    fileprivate static let rememberedBytes = rememberedMark.bigEndian.bigEndianBytes
}

extension FixedWidthInteger {
    fileprivate var bigEndianBytes: [UInt8] {
        let bytes = Self.bitWidth / 8
        return (1...bytes).map { UInt8(truncatingIfNeeded: self >> (Self.bitWidth - 8 * $0)) }
    }
}
