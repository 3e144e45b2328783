// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

/// Families that are dropped: all of their TCP but name lookups that are captured.
///
/// Only the first segment is dropped: a verdict is a connection's, and those that are established
/// when the policy changes live to their end, as they do when it redirects.
extension RuleCompiler {
    func drops() -> RulePart {
        var part = RulePart()
        guard !dropped.isEmpty else { return part }
        let leave = virtual.isEmpty ? [] : [Rule(dropped, .inInterfaces(virtual), .leave)]
        part.hook(.mangleOutput, Rule(dropped, .newTCP, .jump(.outboundDrop)))
        part.chains += dropChains(
            .outboundDrop, lookups: .outboundDropLookups,
            butFor: notCaptured(.tcp, dropped, drop))
        part.hook(.filterInput, Rule(dropped, .newTCP, .jump(.inboundDrop)))
        part.chain(
            .inboundDrop,
            leave + pass(dropped, .inInterfaces(["lo"]), .loopback) + [Rule(dropped, nil, drop)])
        guard !virtual.isEmpty else { return part }
        part.hook(.manglePrerouting, Rule(dropped, .newTCP, .jump(.arrivingDrop)))
        part.chain(.arrivingDrop, [Rule(dropped, .inInterfaces(virtual), .goto(.virtualDrop))])
        part.chains += dropChains(.virtualDrop, lookups: .virtualDropLookups, butFor: [])
        return part
    }

    private var drop: Rule.Action { .decide(Verdict(.drop, .family)) }

    /// Drops everything, but leaves captured lookups to nat; `exceptions` are drops among those.
    private func dropChains(
        _ name: Chain.Name, lookups: Chain.Name, butFor exceptions: [Rule]
    ) -> [Chain] {
        let queries = queries(.tcp, .leave, dropped)
        let otherwise = [Rule(dropped, nil, drop)]
        guard !queries.isEmpty else { return [Chain(name, otherwise)] }
        let gate = Rule(dropped, .destinationPorts([DNSCapture.domainPort]), .goto(lookups))
        return [
            Chain(name, [gate] + otherwise), Chain(lookups, exceptions + queries + otherwise),
        ]
    }
}

extension Chain.Name {
    static let outboundDrop = Chain.Name("outbound_drop")
    static let outboundDropLookups = Chain.Name("outbound_drop_dns")
    static let inboundDrop = Chain.Name("inbound_drop")
    static let arrivingDrop = Chain.Name("arriving_drop")
    static let virtualDrop = Chain.Name("virtual_drop")
    static let virtualDropLookups = Chain.Name("virtual_drop_dns")
}
