// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import RedirectionEngine
import Testing

@Suite struct BackendChoiceTests {
    static let lacking = report("cgroup/getsockopt", since: "5.3", .no("EINVAL"))
    let modern = KernelVersion(6, 18)
    let complete = [Assessment(.ebpf, []), Assessment(.nft, []), Assessment(.legacy, [])]
    let withoutEBPF = [Assessment(.ebpf, [lacking]), Assessment(.nft, []), Assessment(.legacy, [])]

    @Test func `the first that fits is taken when the choice is ours`() throws {
        #expect(try choose(.automatic, among: complete, on: modern).mechanism == .ebpf)
    }

    @Test func `falling back says what was missing`() throws {
        let choice = try choose(.automatic, among: withoutEBPF, on: modern)
        #expect(choice.mechanism == .nft)
        #expect(choice.reason == "ebpf: no cgroup/getsockopt (EINVAL; since Linux 5.3)")
        #expect(choice.passedOver.map(\.cause) == [.kernel])
    }

    @Test func `below 5.4 eBPF is never taken, whatever the probes say`() throws {
        let choice = try choose(.automatic, among: complete, on: KernelVersion(5, 3))
        #expect(choice.mechanism == .nft)
        #expect(choice.reason == "ebpf: kernel 5.3 is older than 5.4")
        let tooOld = ChoiceError.tooOld(.ebpf, KernelVersion(5, 3), first: KernelVersion(5, 4))
        #expect(throws: tooOld) {
            try choose(.exactly(.ebpf), among: complete, on: KernelVersion(5, 3))
        }
        #expect("\(tooOld)".contains("kernel 5.3 is older than 5.4; ask for auto, nft or legacy"))
        let first = try choose(.exactly(.ebpf), among: complete, on: KernelVersion(5, 4))
        #expect(first.mechanism == .ebpf)
        // What is missing says more than a version.
        #expect(throws: ChoiceError.unmet(.ebpf, missing: [Self.lacking])) {
            try choose(.exactly(.ebpf), among: withoutEBPF, on: KernelVersion(5, 3))
        }
    }

    @Test func `a mechanism that was asked for is never replaced`() throws {
        #expect(throws: ChoiceError.unmet(.ebpf, missing: [Self.lacking])) {
            try choose(.exactly(.ebpf), among: withoutEBPF, on: modern)
        }
        #expect(try choose(.exactly(.legacy), among: withoutEBPF, on: modern).reason == "asked for")
    }

    @Test func `an unknown answer is no yes`() {
        let unsure = Assessment(.nft, [report("nat chain", since: "3.18", .unknown("EPERM"))])
        let obstacle = PassedOver(.nft, .unknown, "nat chain unknown (EPERM)")
        #expect(throws: ChoiceError.nothingFits([obstacle])) {
            try choose(.automatic, among: [unsure], on: modern)
        }
    }

    @Test func `a plan that the first cannot express goes to the next, which says so`() throws {
        func refusal(_ mechanism: Mechanism) -> String? {
            mechanism == .ebpf ? "it cannot express a virtual interface" : nil
        }
        let choice = try choose(.automatic, among: complete, on: modern, refusal: refusal)
        #expect(choice.mechanism == .nft)
        #expect(choice.reason == "ebpf: it cannot express a virtual interface")
        #expect(
            throws: ChoiceError.refused(.ebpf, because: "it cannot express a virtual interface")
        ) {
            try choose(.exactly(.ebpf), among: complete, on: modern, refusal: refusal)
        }
    }

    @Test func `one of several is one of these`() throws {
        let choice = try choose(.oneOf([.legacy, .nft]), among: complete, on: modern)
        #expect(choice.mechanism == .nft)
    }

    @Test func `what is only better does not stand in the way`() throws {
        let optional = Assessment(
            .ebpf, [report("sk_lookup", since: "5.9", without: "inbound by tc", .no("EINVAL"))])
        #expect(try choose(.automatic, among: [optional], on: modern).mechanism == .ebpf)
    }

    @Test(arguments: [
        ("6.18.44-fc", KernelVersion(6, 18)), ("5.4.0-42-generic", KernelVersion(5, 4)),
        ("2.6.78", KernelVersion(2, 6)),
    ])
    func `a release is read`(_ release: String, _ expected: KernelVersion) {
        #expect(KernelVersion(release: release) == expected)
    }

    // MARK: Others

    private func rules(precedes: Set<Mechanism> = []) -> ForeignHook {
        ForeignHook(.rules, "1 rule", in: "nat", effect: "comes first", precedes: precedes)
    }
    private let chain = ForeignHook(.chain, "chain output", in: "output", effect: "comes later")

    @Test func `where others use legacy rules alone, so do we`() throws {
        let choice = try choose(
            .oneOf([.nft, .legacy]), among: complete, on: modern, beside: [rules()])
        #expect(choice.mechanism == .legacy)
        #expect(choice.passedOver == [PassedOver(.nft, .mixture, "others here use legacy rules")])
        // eBPF mixes with nothing.
        let automatic = try choose(.automatic, among: complete, on: modern, beside: [rules()])
        #expect(automatic.mechanism == .ebpf)
    }

    @Test func `where others use both kinds, or chains alone, nft is taken`() throws {
        for others in [[chain], [chain, rules()]] {
            let choice = try choose(
                .oneOf([.nft, .legacy]), among: complete, on: modern, beside: others)
            #expect(choice.mechanism == .nft)
        }
    }

    @Test func `kinds are mixed when the other kind cannot`() throws {
        let withoutLegacy = [
            Assessment(.nft, []),
            Assessment(.legacy, [report("nat table", since: "2.4", .no("ENOENT"))]),
        ]
        let choice = try choose(
            .automatic, among: withoutLegacy, on: modern, beside: [rules()])
        #expect(choice.mechanism == .nft)
        #expect(choice.passedOver.map(\.mechanism) == [.legacy])
    }

    @Test func `an explicit wish mixes, too`() throws {
        let choice = try choose(.exactly(.nft), among: complete, on: modern, beside: [rules()])
        #expect(choice.mechanism == .nft)
    }

    @Test func `a program that allows no other is an obstacle, by its name`() throws {
        let alone = ForeignHook(
            .program, "program theirs (id 7)", in: "/sys/fs/cgroup, connect4",
            effect: "ours cannot be attached (EPERM)", blocks: [.ebpf])
        let choice = try choose(.automatic, among: complete, on: modern, beside: [alone])
        #expect(choice.mechanism == .nft)
        #expect(choice.passedOver.map(\.cause) == [.others])
        #expect(choice.reason.contains("program theirs (id 7) in /sys/fs/cgroup, connect4"))
        #expect(throws: ChoiceError.blocked(.ebpf, by: alone)) {
            try choose(.exactly(.ebpf), among: complete, on: modern, beside: [alone])
        }
    }

    @Test func `what comes first and does not prevent it is kept with the choice`() throws {
        let first = rules(precedes: [.legacy])
        for (mechanism, expected) in [(Mechanism.legacy, [first]), (.nft, [])] {
            let choice = try choose(
                .exactly(mechanism), among: complete, on: modern, beside: [first, chain])
            #expect(choice.others == expected)
        }
    }

    @Test func `a choice survives being recorded`() throws {
        let choice = try choose(
            .automatic, among: withoutEBPF, on: modern, beside: [rules(precedes: [.legacy])])
        let copy = try JSONDecoder().decode(Choice.self, from: JSONEncoder().encode(choice))
        #expect(copy == choice)
    }
}

/// A feature of a mechanism that does not matter here.
func report(
    _ name: String, since: String, without: String? = nil, after: [String] = [],
    _ answer: ProbeAnswer
) -> FeatureReport {
    FeatureReport(
        Feature(
            .ebpf, name, since: since, use: "", without: without, probe: "", after: after),
        answer)
}
