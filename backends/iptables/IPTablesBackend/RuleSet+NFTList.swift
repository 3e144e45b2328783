// SPDX-License-Identifier: Apache-2.0

internal import NFTables
internal import RedirectionModel

extension RuleSet {
    /// The table as `nft --stateless list ruleset` prints it, but for line breaks within sets.
    package var nftText: String {
        let hooked = hooks.map { hook in
            chainText(hook.point.nftName, [hook.point.nftText, hook.rule.nftText])
        }
        let plan = chainText(Self.nftPlanChain, ["return comment \"plan \(fingerprint)\""])
        let others = chains.map { chainText($0.name.rawValue, $0.rules.map(\.nftText)) }
        let all = (hooked + [plan] + others).joined(separator: "\n")
        return "table inet \(Self.nftTable) {\n\(all)}\n"
    }

    private func chainText(_ name: String, _ lines: [String]) -> String {
        "\tchain \(name) {\n" + lines.map { "\t\t\($0)\n" }.joined() + "\t}\n"
    }
}

extension Hook.Point {
    fileprivate var nftText: String {
        // nft(8) has names for some priorities, and each only where it belongs.
        let priority =
            switch self {
            case .natOutput: "-101"
            case .natPrerouting: "dstnat - 1"
            case .filterOutput, .filterInput: "filter"
            }
        return "type \(nftHook.type) hook \(nftHook.point) priority \(priority); policy accept;"
    }
}

extension Rule {
    fileprivate var nftText: String {
        var words: [String] = []
        // An address says its family itself.
        if let family = onlyFamily, match?.isAddress != true {
            words.append("meta nfproto \(family.rawValue)")
        }
        if needsTCP, match?.saysTCP != true { words.append("meta l4proto tcp") }
        if let text = match?.nftText { words.append(text) }
        words += ["counter", action.nftText, "comment \"\(comment)\""]
        return words.joined(separator: " ")
    }
}

extension Rule.Match {
    fileprivate var isAddress: Bool {
        switch self {
        case .sources, .destinations: true
        default: false
        }
    }

    fileprivate var saysTCP: Bool {
        switch self {
        case .newTCP, .destinationPorts: true
        default: false
        }
    }

    fileprivate var nftText: String? {
        switch self {
        case .tcp: nil
        case .newTCP: "tcp flags syn / fin,syn,rst,ack"
        case .inInterfaces(let names): "iifname " + braces(names.sorted().map { "\"\($0.nft)\"" })
        case .outInterfaces(let names): "oifname " + braces(names.sorted().map { "\"\($0.nft)\"" })
        case .uids(let ids): "meta skuid " + braces(ids.nftTexts)
        case .gids(let ids): "meta skgid " + braces(ids.nftTexts)
        case .sources(let addresses): "\(addresses.nftKeyword) saddr " + braces(addresses.nftTexts)
        case .destinations(let addresses):
            "\(addresses.nftKeyword) daddr " + braces(addresses.nftTexts)
        case .destinationPorts(let ports): "tcp dport " + braces(ports.nftTexts)
        }
    }

    private func braces(_ elements: [some Any]) -> String {
        "{ " + elements.map { "\($0)" }.joined(separator: ", ") + " }"
    }
}

extension Rule.Action {
    fileprivate var nftText: String {
        switch self {
        case .jump(let chain): "jump \(chain.rawValue)"
        case .goto(let chain): "goto \(chain.rawValue)"
        case .decide(let verdict):
            switch verdict.action {
            case .pass: "return"
            case .drop: "drop"
            case .redirectOutbound(let port), .redirectInbound(let port), .redirectDNS(let port):
                "redirect to :\(port)"
            }
        }
    }
}

extension AddressRanges {
    fileprivate var nftKeyword: String { family == .ipv4 ? "ip" : "ip6" }

    /// A range that is a network as one, an address bare.
    fileprivate var nftTexts: [String] {
        ranges.map { range in
            let (first, last) = (range.lowerBound, range.upperBound)
            if first == last { return "\(first)" }
            let networks = AddressRanges(family, range).networks
            return networks.count == 1 ? networks.map { "\($0)" }.joined() : "\(first)-\(last)"
        }
    }
}

extension InterfacePattern {
    /// nft(8) writes a prefix with an asterisk.
    fileprivate var nft: String { isPrefix ? name + "*" : name }
}

extension RangeSet {
    fileprivate var nftTexts: [String] {
        ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
    }
}
