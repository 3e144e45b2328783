// SPDX-License-Identifier: Apache-2.0

import RedirectionEngine
import Testing

@Suite struct RenderedPlanTests {
    private func plan(_ sections: [String: [String]]) -> RenderedPlan {
        RenderedPlan(
            sections.sorted { $0.key < $1.key }.map { RenderedPlan.Section($0.key, $0.value) })
    }

    @Test func `a difference keeps order and names what came and went`() {
        let changes = plan(["nat": ["a", "c", "b", "d"]])
            .changes(from: plan(["nat": ["a", "b", "x", "d"]]))
        #expect(changes.map(\.title) == ["nat"])
        #expect(
            changes.flatMap(\.changes)
                == [.same("a"), .added("c"), .same("b"), .removed("x"), .same("d")])
    }

    @Test func `against nothing everything is new, and a section that went is removed`() {
        #expect(
            plan(["nat": ["a"]]).changes(from: nil).flatMap(\.changes) == [.added("a")])
        let changes = plan([:]).changes(from: plan(["raw": ["z"]]))
        #expect(changes.map(\.title) == ["raw"])
        #expect(changes.flatMap(\.changes) == [.removed("z")])
    }
}
