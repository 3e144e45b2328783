// SPDX-License-Identifier: Apache-2.0

import CSwerveABI
import RedirectionModel
import Testing

@testable import EBPFBackend

/// The programs' own C, asked the questions the model answers.
@Suite struct PolicyTests {
    /// The verdict as the programs would compute it: maps stand in for the kernel's.
    private func verdict(of plan: RedirectionPlan, on flow: Flow) -> Verdict? {
        verdict(of: plan, PolicyLists(plan), OwnerTable(PolicyLists(plan)), on: flow)
    }

    private func verdict(
        of plan: RedirectionPlan, _ lists: PolicyLists, _ owners: OwnerTable, on flow: Flow
    ) -> Verdict? {
        var entry = plan.podEntry(set: 1, usesSocketLookup: true)
        var ask = swerve_question()
        ask.source = swerve_addr(flow.source.address)
        ask.peer = swerve_addr(
            flow.direction == .outbound ? flow.destination.address : flow.source.address)
        if flow.direction == .outbound { unsafe swerve_settle(&ask) }
        let peer = IPAddress(ask.peer)
        ask.protocol = flow.protocol == .tcp ? 6 : 17
        ask.port = flow.destination.port
        ask.uid = flow.owner?.uid ?? 0
        ask.gid = flow.owner?.gid ?? 0
        ask.ports = portLists(lists, flow.destination.port)
        ask.networks = longestMatch(lists, peer)
        ask.source_networks = longestMatch(lists, flow.source.address)
        if let facts = facts(owners, isGroup: false, ask.uid) {
            ask.uid_flags = facts.flags
            ask.is_port_excluded = isPortExcluded(by: facts, flow) ? 1 : 0
        }
        ask.gid_flags = facts(owners, isGroup: true, ask.gid)?.flags ?? 0
        let answer =
            unsafe flow.direction == .outbound
            ? swerve_outbound(&entry, &ask) : swerve_inbound(&entry, &ask)
        return Reason(rawValue: UInt8(answer.reason)).map { reason in
            Verdict(action(answer.action, plan), reason)
        }
    }

    /// What the trie of owners finds.
    private func facts(_ owners: OwnerTable, isGroup: Bool, _ id: UInt32) -> OwnerTable.Facts? {
        owners.entries.first {
            $0.isGroup == isGroup && ($0.prefix.first...$0.prefix.last).contains(id)
        }?.facts
    }

    /// What swerve_ask_owners() makes of it.
    private func isPortExcluded(by facts: OwnerTable.Facts, _ flow: Flow) -> Bool {
        guard flow.protocol == .tcp else {
            return flow.destination.port == 53 && facts.isExcludedFromDNS
        }
        let words = PolicyLists.elements(excluding: facts.excludedPorts)
        return words[Int(flow.destination.port / 64)].word.0
            >> UInt64(flow.destination.port % 64) & 1 == 1
    }

    private func action(_ value: UInt32, _ plan: RedirectionPlan) -> Action {
        switch value {
        case SWERVE_REDIRECT_OUTBOUND.rawValue:
            .redirectOutbound(port: plan.sidecar.outboundPort)
        case SWERVE_REDIRECT_INBOUND.rawValue: .redirectInbound(port: plan.sidecar.inboundPort)
        case SWERVE_REDIRECT_DNS.rawValue: .redirectDNS(port: plan.dns?.port ?? 0)
        case SWERVE_DROP.rawValue: .drop
        default: .pass
        }
    }

    /// What swerve_port_lists() reads out of the bitmaps.
    private func portLists(_ lists: PolicyLists, _ port: UInt16) -> UInt32 {
        let words = lists.portElements[Int(port / 64)].word
        return [words.0, words.1, words.2, words.3, words.4, words.5].enumerated().reduce(0) {
            $0 | UInt32($1.element >> UInt64(port % 64) & 1) << UInt32($1.offset)
        }
    }

    /// What the kernel's trie finds: the entry with the longest prefix, families blind.
    private func longestMatch(_ lists: PolicyLists, _ address: IPAddress) -> UInt32 {
        let matches = lists.networks.filter { network, _ in
            let bytes = address.bytes
            let prefix = network.network.bytes
            return (0..<network.mappedPrefixLength).allSatisfy { bit in
                let difference: UInt8 = bytes[bit / 8] ^ prefix[bit / 8]
                return difference & (0x80 >> UInt8(bit % 8)) == 0
            }
        }
        return matches.max { $0.key.mappedPrefixLength < $1.key.mappedPrefixLength }?.value ?? 0
    }

    @Test func `the programs and the model give every flow the same verdict and reason`() {
        var reasons: Set<Reason> = []
        for _ in 0..<6000 {
            let plan = RandomPlan.make()
            let lists = PolicyLists(plan)
            let owners = OwnerTable(lists)
            for _ in 0..<8 {
                let flow = RandomPlan.flow(for: plan)
                let expected = plan.verdict(for: flow)
                let verdict = verdict(of: plan, lists, owners, on: flow)
                #expect(verdict == expected, "\(flow)\n\(plan.canonicalText)")
                reasons.insert(expected.reason)
            }
        }
        // Proves that the generator reaches every rule the programs have.
        #expect(reasons == Set(Reason.allCases).subtracting([.interface]))
    }

    @Test func `reasons have the same numbers on both sides`() {
        let last = Reason.allCases.map(\.rawValue).max()
        #expect(last == UInt8(SWERVE_REASON_INBOUND.rawValue))
        #expect(Reason.allCases.count == Int(SWERVE_REASONS.rawValue))
        #expect(Reason.dns.rawValue == UInt8(SWERVE_REASON_DNS.rawValue))
        #expect(Reason.passthrough.rawValue == UInt8(SWERVE_REASON_PASSTHROUGH.rawValue))
        #expect(Reason.uidPort.rawValue == UInt8(SWERVE_REASON_UID_PORT.rawValue))
        #expect(Reason.selfCall.rawValue == UInt8(SWERVE_REASON_SELF_CALL.rawValue))
        #expect(Reason.cidrExcluded.rawValue == UInt8(SWERVE_REASON_CIDR_EXCLUDED.rawValue))
        #expect(Reason.notIncluded.rawValue == UInt8(SWERVE_REASON_NOT_INCLUDED.rawValue))
        #expect(Reason.sidecarPort.rawValue == UInt8(SWERVE_REASON_SIDECAR_PORT.rawValue))
        #expect(Reason.sourceExcluded.rawValue == UInt8(SWERVE_REASON_SOURCE_EXCLUDED.rawValue))
    }

    @Test func `a short IPv6 network does not catch IPv4`() throws {
        var plan = Preset.fsm.plan(ownAddresses: [])
        plan.outbound.excludedNetworks = [.all(.ipv6)]
        let flow = Flow(
            .outbound, from: try #require(Endpoint("10.0.0.2:1")),
            to: try #require(Endpoint("192.0.2.7:80")), owner: Owner(uid: 1, gid: 1))
        #expect(verdict(of: plan, on: flow)?.reason == .outbound)
    }

    @Test(arguments: [0...0, 0...UInt32.max, 1...1, 1...6, 1000...1999, 5...UInt32.max])
    func `a range of ids is cut into prefixes that are exactly the range`(
        _ range: ClosedRange<UInt32>
    ) {
        let prefixes = IDPrefix.covering(range)
        #expect(prefixes.first?.first == range.lowerBound)
        #expect(prefixes.last?.last == range.upperBound)
        for (one, next) in zip(prefixes, prefixes.dropFirst()) {
            #expect(next.first - one.last == 1)
        }
        // RFC-style masks: the first id has no bit below the prefix.
        #expect(prefixes.allSatisfy { $0.length == 32 || $0.first << UInt32($0.length) == 0 })
        #expect(prefixes.count <= 62)
    }
}
