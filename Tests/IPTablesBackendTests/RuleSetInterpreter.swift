// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import RedirectionModel

extension RuleSet {
    /// What a kernel would do with the first packet of `flow`, rule by rule.
    ///
    /// `nil` means that no rule decided. The kernel asks nat before filter in either direction;
    /// a verdict of nat that only passes leaves the packet to filter.
    func verdict(for flow: Flow) -> Verdict? {
        let hooks = hooks.filter { $0.point.direction == flow.direction }
        let nat = hooks.filter { $0.point == .natOutput || $0.point == .natPrerouting }
        let filter = hooks.filter { $0.point == .filterOutput || $0.point == .filterInput }
        let decisions = [nat, filter].map { part in
            part.lazy.compactMap { step(through: $0.rule, flow)?.verdict }.first
        }
        if let drop = decisions[1], drop.action == .drop { return drop }
        return decisions[0] ?? decisions[1]
    }

    /// How the walk through a chain can end other than at its last rule.
    private enum End {
        case decided(Verdict)
        /// A chain that was gone to has ended: back to the caller of the one that went.
        case left

        var verdict: Verdict? {
            if case .decided(let verdict) = self { verdict } else { nil }
        }
    }

    private func walk(_ name: Chain.Name, _ flow: Flow) -> End? {
        // A jump to a chain that is not there is a compiler's mistake, not an empty chain.
        guard let chain = chain(name) else { fatalError("no chain \(name)") }
        for rule in chain.rules {
            if let end = step(through: rule, flow) { return end }
        }
        return nil
    }

    private func step(through rule: Rule, _ flow: Flow) -> End? {
        guard rule.matches(flow) else { return nil }
        switch rule.action {
        case .decide(let verdict): return .decided(verdict)
        case .goto(let chain): return walk(chain, flow) ?? .left
        case .jump(let chain):
            let end = walk(chain, flow)
            if case .left = end { return nil }
            return end
        }
    }
}

extension Rule {
    func matches(_ flow: Flow) -> Bool {
        guard families.contains(flow.destination.address.family) else { return false }
        switch match {
        case nil: return true
        // A flow stands for its first segment.
        case .tcp, .newTCP: return flow.protocol == .tcp
        case .inInterfaces(let names):
            return flow.direction == .inbound && names.matches(flow.interface)
        case .outInterfaces(let names):
            return flow.direction == .outbound && names.matches(flow.interface)
        case .uids(let ids): return flow.owner.map { ids.contains($0.uid) } ?? false
        case .gids(let ids): return flow.owner.map { ids.contains($0.gid) } ?? false
        case .sources(let addresses): return addresses.contains(flow.source.address)
        case .destinations(let addresses): return addresses.contains(flow.destination.address)
        case .destinationPorts(let ports):
            return flow.protocol == .tcp && ports.contains(flow.destination.port)
        }
    }
}
