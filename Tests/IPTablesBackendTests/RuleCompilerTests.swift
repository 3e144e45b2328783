// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import RedirectionModel
import Testing
import XTables

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
                let trace = rules.trace(flow)
                // What no rule touches passes: all of it when off, and whatever is not TCP.
                if trace.verdict == nil, expected.action == .pass,
                    !plan.isEnabled || flow.protocol != .tcp
                {
                    continue
                }
                #expect(trace.verdict == expected, "\(flow) by\n\(plan.canonicalText)")
                // Counted once, in the right table.
                let counted = trace.steps.filter { $0.rule.action.verdict != nil }
                #expect(counted.count == 1, "\(flow) by\n\(plan.canonicalText)")
                #expect(trace.decisive?.chain?.direction == plan.table(for: flow))
            }
        }
        #expect(reasons == Set(Reason.allCases), "the random flows do not reach every reason")
    }

    @Test func `what is not TCP meets the hook and nothing behind it`() {
        let plan = Preset.fsm.plan(ownAddresses: [])
        for hook in RuleSet(plan).hooks {
            #expect(hook.rule.match == .newTCP)
            #expect(hook.rule.families == [.ipv4, .ipv6])
        }
    }

    @Test func `a plan that is off has no rules`() {
        var plan = Preset.fsm.plan(ownAddresses: [])
        plan.isEnabled = false
        #expect(RuleSet(plan) == RuleSet(fingerprint: plan.fingerprint))
    }

    @Test func `every chain is there, and led to`() {
        var random = RandomPlans(seed: 10)
        for _ in 0..<3000 {
            let plan = random.plan()
            let rules = RuleSet(plan)
            let all = rules.hooks.map(\.rule) + rules.chains.flatMap(\.rules)
            let targets = all.compactMap { rule -> Chain.Name? in
                switch rule.action {
                case .jump(let name), .goto(let name): name
                default: nil
                }
            }
            #expect(Set(targets) == Set(rules.chains.map(\.name)), "\(plan.canonicalText)")
            #expect(rules.chains.count == Set(rules.chains.map(\.name)).count)
        }
    }

    @Test func `legacy chains have names the kernel takes, and no owner where packets arrive`() {
        var random = RandomPlans(seed: 9)
        for _ in 0..<300 {
            for table in RuleSet(random.plan()).legacyTables() {
                // XT_EXTENSION_MAXNAMELEN, with its zero.
                #expect(table.chains.keys.allSatisfy { $0.utf8.count < 29 })
                var seen: Set<String> = []
                var rest = table.jumps.filter { $0.chain != "OUTPUT" }.map(\.rule)
                while let rule = rest.popLast() {
                    #expect(rule.owner == nil && rule.outInterface == nil)
                    guard case .jump(let chain) = rule.target.asJump, seen.insert(chain).inserted
                    else { continue }
                    rest += table.chains[chain] ?? []
                }
            }
        }
    }

    @Test func `a dropped family is dropped in mangle and filter and absent from nat`() {
        var plan = Preset.fsm.plan(ownAddresses: [])
        plan.families[.ipv6] = .drop
        let rules = RuleSet(plan)
        #expect(rules.legacyTables(for: [.ipv4]).map(\.name) == [.nat])
        #expect(rules.legacyTables(for: [.ipv6]).map(\.name) == [.filter, .mangle])
    }
}

extension XTRule.Target {
    /// A chain that is gone to, as one that is jumped to.
    fileprivate var asJump: XTRule.Target {
        if case .goto(let chain) = self { .jump(chain) } else { self }
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
