// SPDX-License-Identifier: Apache-2.0

import RedirectionEngine
import Testing

@Suite struct BackendChoiceTests {
    static let lacking = FeatureReport(
        "cgroup/getsockopt", since: "5.3", use: "original destination", answer: .no("EINVAL"))
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
    }

    @Test func `below 5.4 automatic never takes eBPF, whatever the probes say`() throws {
        let choice = try choose(.automatic, among: complete, on: KernelVersion(5, 3))
        #expect(choice.mechanism == .nft)
        #expect(choice.reason == "ebpf: kernel 5.3 is older than 5.4")
    }

    @Test func `a mechanism that was asked for is never replaced`() throws {
        #expect(throws: ChoiceError.unmet(.ebpf, missing: [Self.lacking])) {
            try choose(.exactly(.ebpf), among: withoutEBPF, on: modern)
        }
        #expect(try choose(.exactly(.legacy), among: withoutEBPF, on: modern).reason == "asked for")
    }

    @Test func `an unknown answer is no yes`() {
        let unsure = Assessment(
            .nft, [FeatureReport("nat chain", since: "3.18", use: "", answer: .unknown("EPERM"))])
        #expect(throws: ChoiceError.nothingFits(["nft: nat chain unknown (EPERM)"])) {
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
            .ebpf,
            [
                FeatureReport(
                    "sk_lookup", since: "5.9", use: "", isRequired: false, answer: .no("EINVAL"))
            ])
        #expect(try choose(.automatic, among: [optional], on: modern).mechanism == .ebpf)
    }

    @Test(arguments: [
        ("6.18.44-fc", KernelVersion(6, 18)), ("5.4.0-42-generic", KernelVersion(5, 4)),
        ("2.6.78", KernelVersion(2, 6)),
    ])
    func `a release is read`(_ release: String, _ expected: KernelVersion) {
        #expect(KernelVersion(release: release) == expected)
    }
}
