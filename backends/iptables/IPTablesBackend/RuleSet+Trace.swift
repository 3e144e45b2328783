// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

extension RuleSet {
    /// A rule that a flow meets and that matches it.
    package struct Step: Hashable, Sendable {
        package let point: Hook.Point
        /// The chain the rule stands in; `nil` for the hook itself.
        package let chain: Chain.Name?
        package let rule: Rule
    }

    /// A flow's way through the rules.
    package struct Trace: Hashable, Sendable {
        /// The rules that match, in the order in which a packet meets them.
        package var steps: [Step] = []
        /// Which of them decides; `nil` when none does, and the flow passes.
        package var decisive: Step?

        package var verdict: Verdict? { decisive?.rule.action.verdict }
    }

    /// What a kernel does with the first packet of `flow`, rule by rule.
    ///
    /// A rule that passes a flow ends the walk through its hook's chains and nothing more: a
    /// later hook may drop it. One that redirects is not undone by a later one but by a drop.
    package func trace(_ flow: Flow) -> Trace {
        let flow = flow.settled
        var trace = Trace()
        for (point, rules) in hooksByPoint where point.direction == flow.direction {
            var walk = Walk(rules: self, point: point, flow: flow)
            walk.walk(rules, of: nil)
            trace.steps += walk.steps
            guard let step = walk.decisive, let verdict = step.rule.action.verdict else { continue }
            let isOpen = trace.verdict.map { $0.action == .pass } ?? true
            if trace.decisive == nil || verdict.action == .drop || isOpen && walk.isOver {
                trace.decisive = step
            }
            if verdict.action == .drop { break }
        }
        return trace
    }

    private struct Walk {
        let rules: RuleSet
        let point: Hook.Point
        let flow: Flow
        var steps: [Step] = []
        var decisive: Step?
        /// Whether a rule took the packet away from all others.
        var isOver = false

        /// Walks a chain's rules, or the hook's own; what falls off the end, leaves or passes
        /// goes on at the hook.
        mutating func walk(_ list: [Rule], of chain: Chain.Name?) {
            for rule in list where !isOver && rule.matches(flow) {
                let step = Step(point: point, chain: chain, rule: rule)
                steps.append(step)
                switch rule.action {
                case .decide(let verdict), .assign(let verdict):
                    isOver = verdict.action != .pass
                    if isOver || decisive == nil { decisive = step }
                    return
                case .zone, .assignLater: break
                case .leave: return
                case .jump(let name): walk(rules.rules(of: name), of: name)
                case .goto(let name): return walk(rules.rules(of: name), of: name)
                }
            }
        }
    }

    private func rules(of name: Chain.Name) -> [Rule] {
        // A chain that is not there is a compiler's mistake, not an empty chain.
        guard let chain = chain(name) else { fatalError("no chain \(name.rawValue)") }
        return chain.rules
    }
}

extension Rule {
    /// Whether the first packet of the flow matches.
    package func matches(_ flow: Flow) -> Bool {
        guard families.contains(flow.destination.address.family),
            carrier == nil || carrier == flow.protocol
        else { return false }
        switch match {
        // A flow stands for its first segment.
        case nil, .newTCP: return true
        case .remembered: return false
        case .inInterfaces(let names):
            return flow.direction == .inbound && names.matches(flow.interface)
        case .outInterfaces(let names):
            return flow.direction == .outbound && names.matches(flow.interface)
        case .uids(let ids): return flow.owner.map { ids.contains($0.uid) } ?? false
        case .gids(let ids): return flow.owner.map { ids.contains($0.gid) } ?? false
        case .sources(let addresses): return addresses.contains(flow.source.address)
        case .destinations(let addresses): return addresses.contains(flow.destination.address)
        case .sourcePorts(let ports): return ports.contains(flow.source.port)
        case .newTCPToPorts(let ports), .destinationPorts(let ports):
            return ports.contains(flow.destination.port)
        }
    }
}

extension Rule.Action {
    /// What it decides, if it does.
    package var verdict: Verdict? {
        switch self {
        case .decide(let verdict), .assign(let verdict): verdict
        case .zone, .assignLater, .leave, .jump, .goto: nil
        }
    }
}
