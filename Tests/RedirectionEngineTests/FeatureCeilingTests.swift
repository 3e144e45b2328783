// SPDX-License-Identifier: Apache-2.0

import RedirectionEngine
import Testing

@Suite struct FeatureCeilingTests {
    private let ceiling = FeatureCeiling(KernelVersion(5, 4))

    @Test func `what is newer than the ceiling is not asked for`() {
        let answer = ceiling.answer(since: "5.9") {
            Issue.record("the kernel was asked")
            return .yes
        }
        #expect(answer == .no("nothing newer than Linux 5.4 is used here"))
    }

    @Test func `what the ceiling permits is the kernel's to answer`() {
        #expect(ceiling.answer(since: "5.4") { .no("said the kernel") } == .no("said the kernel"))
        #expect(ceiling.answer(since: "4.17") { .yes } == .yes)
        #expect(FeatureCeiling.none.answer(since: "99.0") { .yes } == .yes)
    }

    @Test func `versions are compared by number`() {
        #expect(ceiling.permits(KernelVersion(4, 19)))
        #expect(!ceiling.permits(KernelVersion(5, 15)))
        #expect(!ceiling.permits(KernelVersion(6, 2)))
    }
}
