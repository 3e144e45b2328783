// SPDX-License-Identifier: Apache-2.0

import RedirectionEngine
import RedirectionModel
import Testing

/// What counters may say after flows whose verdicts are known.
@Suite struct CountingPromiseTests {
    private let application = Owner(uid: 10_001, gid: 10_001)

    private func flow(_ address: IPAddress, port: UInt16 = 80) -> Flow {
        Flow(
            .outbound, from: Endpoint(own, 0), to: Endpoint(address, port), owner: application)
    }

    private let own = IPAddress(ipv4: 0x0a00_0002)
    private let remote = IPAddress(ipv4: 0xc000_0207)

    private func plan(_ family: FamilyPolicy = .managed) -> RedirectionPlan {
        var plan = Preset.fsm.plan(ownAddresses: [own])
        plan.families[.ipv4] = family
        return plan
    }

    private func counters(_ reason: Reason, _ count: UInt64) -> ReasonCounters {
        var counters = ReasonCounters()
        counters[.outbound, reason] = count
        return counters
    }

    @Test(arguments: Mechanism.allCases)
    func `a connection is counted once, by the row that decides it`(_ mechanism: Mechanism) {
        let flows = [flow(remote), flow(remote)]
        func miscounts(_ counters: ReasonCounters) -> [String] {
            counters.miscounts(after: flows, under: plan(), by: mechanism).map { "\($0)" }
        }
        #expect(miscounts(counters(.outbound, 2)).isEmpty)
        #expect(
            miscounts(counters(.outbound, 3)) == [
                "outbound outbound is counted 3 times, not 2"
            ])
        #expect(miscounts(counters(.uid, 2)).count == 2)
    }

    @Test(arguments: Mechanism.allCases)
    func `what is dropped may be counted again, but not less`(_ mechanism: Mechanism) {
        func isRight(_ count: UInt64) -> Bool {
            counters(.family, count)
                .miscounts(after: [flow(remote), flow(remote)], under: plan(.drop), by: mechanism)
                .isEmpty
        }
        let once = counters(.family, 1)
            .miscounts(after: [flow(remote), flow(remote)], under: plan(.drop), by: mechanism)
        #expect(
            once.map { "\($0)" } == ["outbound family is counted 1 times, not 2 or more"])
        #expect(isRight(2))
        #expect(isRight(5))
    }

    @Test func `rules may miss a family that passes, and programs may not`() {
        func isRight(_ count: UInt64, _ mechanism: Mechanism) -> Bool {
            counters(.family, count)
                .miscounts(after: [flow(remote)], under: plan(.pass), by: mechanism).isEmpty
        }
        for mechanism in [Mechanism.nft, .legacy] {
            #expect(isRight(0, mechanism))
            #expect(!isRight(2, mechanism))
        }
        #expect(!isRight(0, .ebpf))
        #expect(isRight(1, .ebpf))
    }

    @Test(arguments: Mechanism.allCases)
    func `a workload that is off counts nothing`(_ mechanism: Mechanism) {
        var off = plan()
        off.isEnabled = false
        let none = ReasonCounters().miscounts(after: [flow(remote)], under: off, by: mechanism)
        #expect(none.isEmpty)
        let some = counters(.disabled, 1)
            .miscounts(after: [flow(remote)], under: off, by: mechanism)
        #expect(some.count == 1)
    }
}
