// SPDX-License-Identifier: Apache-2.0

package import RedirectionEngine
package import RedirectionModel
internal import XTables

/// Tells what rules there would be, and are, in the syntax of iptables-save(8) or nft(8).
package struct IPTablesInspector: PlanInspector {
    private let flavor: IPTablesBackend.Flavor

    package var mechanism: Mechanism { flavor.mechanism }

    package init(_ flavor: IPTablesBackend.Flavor) { self.flavor = flavor }

    package func render(_ plan: RedirectionPlan) throws(RedirectionError) -> RenderedPlan {
        let rules = try compile(plan)
        var rendered = RenderedPlan(plan.isEnabled ? rules.listing(flavor) : .empty, flavor)
        rendered.sections += rules.routing.map { [$0.section] } ?? []
        return rendered
    }

    package func notes(on plan: RedirectionPlan) -> [String] {
        guard plan.isEnabled, let dns = plan.dns, dns.protocols.contains(.udp) else { return [] }
        return [
            "whoever answers lookups over UDP on port \(dns.port) must answer from the address it "
                + "was asked at, as one bound to loopback does"
        ]
    }

    package func deciders(
        on flow: Flow, under plan: RedirectionPlan
    ) throws(RedirectionError) -> [String] {
        let trace = try compile(plan).trace(flow)
        guard let decisive = trace.decisive, let last = trace.steps.firstIndex(of: decisive) else {
            return ["no rule matches: the packet goes on as if there were none"]
        }
        return trace.steps[...last].map { $0.text(flavor, flow.destination.address.family) }
    }

    package func installed(
        in workload: Workload
    ) async throws(RedirectionError) -> RenderedPlan? {
        let backend = IPTablesBackend(flavor)
        var rendered = RenderedPlan(try await backend.listing(in: workload), flavor)
        rendered.sections += try backend.routing(of: workload).map { [$0.section] } ?? []
        return rendered.sections.isEmpty ? nil : rendered
    }

    package func counters(
        in workload: Workload
    ) async throws(RedirectionError) -> ReasonCounters {
        try await IPTablesBackend(flavor).counters(in: workload)
    }

    private func compile(_ plan: RedirectionPlan) throws(RedirectionError) -> RuleSet {
        if let part = plan.partRulesCannotSay {
            throw .inexpressible(part: part, mechanism: mechanism)
        }
        return RuleSet(plan)
    }
}

extension RuleListing {
    fileprivate static let empty = RuleListing(sections: [])
}

extension RuleSet.Routing {
    /// In the words of ip(8) and sysctl(8); both families have the same.
    fileprivate var section: RenderedPlan.Section {
        RenderedPlan.Section(
            "routing",
            [
                "ip rule add fwmark \(mark) lookup \(table)",
                "ip route add local default dev lo table \(table)",
                "sysctl net.ipv4.tcp_fwmark_accept=1",
            ])
    }
}

extension RuleSet.Step {
    /// The rule as the operator's tools print it: the first line, where one rule of ours is many.
    fileprivate func text(_ flavor: IPTablesBackend.Flavor, _ family: AddressFamily) -> String {
        switch flavor {
        case .nft:
            "chain \(chain?.rawValue ?? point.nftName): \(rule.nftLines.joined(separator: "; "))"
        case .legacy: legacyText(family)
        }
    }

    private func legacyText(_ family: AddressFamily) -> String {
        let lines = rule.legacyRules(family).map { $0.description(family) }
        let place = chain?.legacy ?? point.builtInChain
        let more = lines.count > 1 ? " (and \(lines.count - 1) like it)" : ""
        return "-t \(point.table) -A \(place) \(lines.first ?? "")\(more)"
    }
}
