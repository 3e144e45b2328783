// SPDX-License-Identifier: Apache-2.0

import RedirectionEngine
import Testing

@Suite struct FeatureMemoryTests {
    /// Answers one thing after the other, and the last for ever.
    private final class Kernel {
        private(set) var asked = 0
        private let answers: [ProbeAnswer]

        init(_ answers: ProbeAnswer...) { self.answers = answers }

        func answer() -> ProbeAnswer {
            defer { asked += 1 }
            return answers[min(asked, answers.count - 1)]
        }
    }

    private let memory = FeatureMemory()

    private func assess(
        _ kernel: Kernel, _ name: String = "hook", below ceiling: FeatureCeiling = .none
    ) -> [ProbeAnswer] {
        let probe = FeatureProbe(report(name, since: "5.8", .yes).feature, ask: kernel.answer)
        return Assessment(.ebpf, asking: [probe], below: ceiling, remembering: memory)
            .features.map(\.answer)
    }

    @Test(arguments: [ProbeAnswer.yes, .no("EINVAL")])
    func `what is certain is asked once`(_ answer: ProbeAnswer) {
        let kernel = Kernel(answer)
        #expect(assess(kernel) == [answer])
        #expect(assess(kernel) == [answer])
        #expect(kernel.asked == 1)
    }

    @Test func `what is uncertain is asked again at once`() {
        let kernel = Kernel(.unknown("EAGAIN"), .yes)
        #expect(assess(kernel) == [.yes])
        #expect(kernel.asked == 2)
    }

    @Test func `what stays uncertain is shown, and asked at the next occasion`() {
        let kernel = Kernel(.unknown("EPERM"))
        #expect(assess(kernel) == [.unknown("EPERM")])
        let before = kernel.asked
        #expect(assess(kernel) == [.unknown("EPERM")])
        #expect(kernel.asked > before)
    }

    @Test func `features do not answer for each other`() {
        #expect(assess(Kernel(.yes), "one") == [.yes])
        #expect(assess(Kernel(.no("EINVAL")), "other") == [.no("EINVAL")])
    }

    @Test func `what a ceiling hides is not asked for, and not remembered`() {
        let kernel = Kernel(.yes)
        let hidden = assess(kernel, below: FeatureCeiling(KernelVersion(5, 4)))
        #expect(hidden == [.no("nothing newer than Linux 5.4 is used here")])
        #expect(kernel.asked == 0)
        #expect(assess(kernel) == [.yes])
    }

    @Test func `without what comes first, nothing is asked for, and nothing else is missing`() {
        let kernel = Kernel(.yes)
        let first = FeatureProbe(report("call", since: "3.18", .yes).feature) { .no("ENOSYS") }
        let second = FeatureProbe(
            report("hook", since: "5.8", after: ["call"], .yes).feature, ask: kernel.answer)
        let assessment = Assessment(
            .ebpf, asking: [first, second], below: .none, remembering: memory)
        #expect(kernel.asked == 0)
        #expect(assessment.features[1].answer == .unknown("not asked without call"))
        #expect(assessment.missing.map(\.feature.name) == ["call"])
    }
}
