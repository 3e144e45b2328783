// SPDX-License-Identifier: Apache-2.0

import RedirectionModel
import Testing

/// Rules in the syntax of iptables-save(8), as far as meshes use it, and what they do to a flow.
struct PublishedRules {
    enum Outcome: Hashable {
        case pass
        case redirect(UInt16)
    }

    private struct Rule {
        let words: [String]
    }

    /// Rules by table and chain.
    private var chains: [String: [Rule]] = [:]

    init(_ text: String) throws {
        var table = ""
        for line in text.split(separator: "\n") {
            switch line.first {
            case "*": table = String(line.dropFirst())
            case ":":
                let name = line.dropFirst().prefix { $0 != " " }
                chains["\(table) \(name)"] = []
            case "#", "C": continue
            case "-":
                let words = line.split(separator: " ").map(String.init)
                try #require(words[0] == "-A")
                chains["\(table) \(words[1])", default: []].append(Rule(words: Array(words[2...])))
            default: Issue.record("what is \(line)?")
            }
        }
    }

    /// What happens to the first packet of `flow`.
    ///
    /// nat is asked once in a connection's life, so that what a workload sends to itself is not
    /// asked about again when it arrives on loopback.
    func outcome(of flow: Flow) throws -> Outcome {
        let hook = flow.direction == .outbound ? "OUTPUT" : "PREROUTING"
        var tables = ["raw", "mangle"]
        if flow.direction == .outbound || flow.interface != "lo" { tables.append("nat") }
        for table in tables {
            if case .redirect(let port) = try walk(table, hook, flow) { return .redirect(port) }
        }
        return .pass
    }

    /// `nil` at the end of the chain.
    private func walk(_ table: String, _ chain: String, _ flow: Flow) throws -> Outcome? {
        for rule in chains["\(table) \(chain)"] ?? [] {
            let (matches, target) = try evaluate(rule, flow)
            guard matches else { continue }
            switch target.first {
            case "RETURN": return nil
            case "ACCEPT": return .pass
            case "REDIRECT", "TPROXY":
                let option = target[0] == "REDIRECT" ? "--to-ports" : "--on-port"
                let index = try #require(target.firstIndex(of: option))
                return .redirect(try #require(UInt16(target[index + 1])))
            // Marks and zones do not say where the first packet goes.
            case "MARK", "CONNMARK", "CT": continue
            case let name?:
                try #require(chains["\(table) \(name)"] != nil, "no chain \(name)")
                if let outcome = try walk(table, name, flow) { return outcome }
            case nil: Issue.record("a rule without a target")
            }
        }
        return nil
    }

    private func evaluate(_ rule: Rule, _ flow: Flow) throws -> (Bool, [String]) {
        var words = rule.words[...]
        var matches = true
        while let option = words.popFirst() {
            var option = option
            let isNegated = option == "!"
            if isNegated { option = words.removeFirst() }
            if option == "-j" { return (matches, Array(words)) }
            let value = words.removeFirst()
            if option == "-m" { continue }
            matches = try matches && (Self.matches(option, value, flow) != isNegated)
        }
        return (matches, [])
    }

    private static func matches(_ option: String, _ value: String, _ flow: Flow) throws -> Bool {
        switch option {
        case "-p": return flow.protocol.rawValue == value
        case "-s": return try #require(CIDR(value)).contains(flow.source.address)
        case "-d": return try #require(CIDR(value)).contains(flow.destination.address)
        case "-i": return flow.direction == .inbound && flow.interface == value
        case "-o": return flow.direction == .outbound && flow.interface == value
        case "--dport": return flow.destination.port == UInt16(value)
        case "--sport": return flow.source.port == UInt16(value)
        case "--dports":
            return value.split(separator: ",").contains { flow.destination.port == UInt16($0) }
        case "--uid-owner": return flow.owner?.uid == UInt32(value)
        case "--gid-owner": return flow.owner?.gid == UInt32(value)
        // A first packet belongs to no connection yet and has no mark.
        case "--ctstate", "--mark": return false
        default: throw UnknownOption(name: option)
        }
    }

    private struct UnknownOption: Error {
        let name: String
    }
}
