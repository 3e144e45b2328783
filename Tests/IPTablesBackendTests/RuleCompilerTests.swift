// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import RedirectionModel
import Testing

@Suite struct RuleCompilerTests {
    @Test(arguments: 0..<8)
    func `rules decide every flow as the verdict model does, for the same reason`(
        _ part: UInt64
    ) {
        var random = RandomPlans(seed: part)
        var reasons: Set<Reason> = []
        for _ in 0..<500 {
            let plan = random.plan()
            let rules = RuleSet(plan)
            for _ in 0..<60 {
                let flow = random.flow()
                let expected = plan.verdict(for: flow)
                reasons.insert(expected.reason)
                let actual = rules.verdict(for: flow)
                // What no rule touches passes: all of it when off, and whatever is not TCP.
                if actual == nil, expected.action == .pass,
                    !plan.isEnabled || flow.protocol != .tcp
                {
                    continue
                }
                #expect(actual == expected, "\(flow) by\n\(plan.canonicalText)")
            }
        }
        #expect(reasons == Set(Reason.allCases), "the random flows do not reach every reason")
    }

    @Test func `what is not TCP meets the hook and nothing behind it`() {
        let plan = Preset.fsm.plan(ownAddresses: [])
        for hook in RuleSet(plan).hooks {
            #expect(hook.rule.match == .tcp)
            #expect(hook.rule.families == [.ipv4, .ipv6])
        }
    }

    @Test func `a plan that is off has no rules`() {
        var plan = Preset.fsm.plan(ownAddresses: [])
        plan.isEnabled = false
        #expect(RuleSet(plan) == RuleSet(fingerprint: plan.fingerprint))
    }

    @Test func `a dropped family is dropped in filter and absent from nat`() {
        var plan = Preset.fsm.plan(ownAddresses: [])
        plan.families[.ipv6] = .drop
        let rules = RuleSet(plan)
        let nat = rules.chains.filter { !$0.name.drops }.flatMap(\.rules)
        #expect(nat.allSatisfy { $0.families == [.ipv4] })
        #expect(rules.legacyTables().map(\.name) == [.filter, .nat])
        #expect(rules.legacyTables().map(\.family) == [.ipv6, .ipv4])
    }
}

@Suite struct AddressRangesTests {
    private func ranges(_ family: AddressFamily, _ texts: String...) -> AddressRanges {
        AddressRanges(family, of: texts.compactMap { CIDR($0) })
    }

    @Test func `what overlaps or touches is one range`() {
        let one = ranges(.ipv4, "10.0.0.128/25", "10.0.0.0/25", "10.0.0.7", "10.0.1.0/24")
        #expect(one.ranges.count == 1)
        #expect(one.networks == [CIDR("10.0.0.0/23")])
    }

    @Test func `a range is cut into the fewest networks`() {
        let odd = ranges(.ipv4, "10.0.0.1", "10.0.0.2/31", "10.0.0.4")
        #expect(odd.networks == ["10.0.0.1", "10.0.0.2/31", "10.0.0.4"].compactMap { CIDR($0) })
    }

    @Test func `everything is one network, in either family`() {
        #expect(ranges(.ipv4, "0.0.0.0/1", "128.0.0.0/1").isEverything)
        #expect(ranges(.ipv6, "::/1", "8000::/1").isEverything)
        #expect(ranges(.ipv6, "::/0").networks == [CIDR.all(.ipv6)])
        #expect(!ranges(.ipv4, "0.0.0.0/1").isEverything)
    }

    @Test func `a network of one family says nothing of the other`() {
        #expect(ranges(.ipv4, "::/0").isEmpty)
        #expect(ranges(.ipv6, "0.0.0.0/0").isEmpty)
        #expect(!ranges(.ipv6, "::/0").contains(IPAddress(ipv4: 1)))
    }
}
