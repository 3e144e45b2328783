// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// What a mechanism puts into the kernel for a plan, as people read it.
package struct RenderedPlan: Hashable, Sendable, Codable {
    /// A part with a syntax of its own.
    package struct Section: Hashable, Sendable, Codable {
        /// What the lines are: `iptables-save`, `nft list ruleset`, a BPF map's name.
        package let title: String
        package let lines: [String]

        package init(_ title: String, _ lines: [String]) {
            self.title = title
            self.lines = lines
        }
    }

    package var sections: [Section]

    package init(_ sections: [Section]) { self.sections = sections }
}

/// Tells what a mechanism would do, and what it has done, without doing anything.
///
/// It needs no backend that runs: what is installed is asked of the kernel.
package protocol PlanInspector: Sendable {
    var mechanism: Mechanism { get }

    /// What `apply` would install.
    ///
    /// Throws `.inexpressible` for what `apply` would refuse.
    func render(_ plan: RedirectionPlan) throws(RedirectionError) -> RenderedPlan

    /// What an operator should know of how the mechanism carries the plan out, beyond the table of
    /// verdicts: one sentence each.
    func notes(on plan: RedirectionPlan) -> [String]

    /// The rules or map entries that decide what happens to `flow`: the last is the one.
    func deciders(
        on flow: Flow, under plan: RedirectionPlan
    ) throws(RedirectionError) -> [String]

    /// What is installed in the workload, in the form `render` gives; `nil` for nothing.
    func installed(in workload: Workload) async throws(RedirectionError) -> RenderedPlan?

    /// How often each row of the verdict table has decided in the workload.
    func counters(in workload: Workload) async throws(RedirectionError) -> ReasonCounters
}

extension PlanInspector {
    /// Why `apply` would refuse the plan on any kernel, or `nil`.
    package func refusal(of plan: RedirectionPlan) -> String? {
        do throws(RedirectionError) {
            _ = try render(plan)
            return nil
        } catch {
            return "\(error)"
        }
    }
}

extension RenderedPlan {
    /// A line that only one of two plans has, and which.
    package enum Change: Hashable, Sendable {
        case same(String)
        case added(String)
        case removed(String)
    }

    /// How to come from `old` to this: by section, every line in order.
    package func changes(from old: RenderedPlan?) -> [(title: String, changes: [Change])] {
        let before = Dictionary(
            (old?.sections ?? []).map { ($0.title, $0.lines) }, uniquingKeysWith: { $0 + $1 })
        let after = Set(sections.map(\.title))
        let gone = (old?.sections ?? []).filter { !after.contains($0.title) }
        return sections.map { section in
            (section.title, Self.changes(from: before[section.title] ?? [], to: section.lines))
        } + gone.map { ($0.title, $0.lines.map(Change.removed)) }
    }

    private static func changes(from old: [String], to new: [String]) -> [Change] {
        let difference = new.difference(from: old)
        var removals: Set<Int> = []
        var insertions: Set<Int> = []
        for change in difference {
            switch change {
            case .insert(let offset, _, _): insertions.insert(offset)
            case .remove(let offset, _, _): removals.insert(offset)
            }
        }
        var changes: [Change] = []
        var (oldIndex, newIndex) = (0, 0)
        while oldIndex < old.count || newIndex < new.count {
            if removals.contains(oldIndex) {
                changes.append(.removed(old[oldIndex]))
                oldIndex += 1
            } else if insertions.contains(newIndex) {
                changes.append(.added(new[newIndex]))
                newIndex += 1
            } else {
                changes.append(.same(new[newIndex]))
                (oldIndex, newIndex) = (oldIndex + 1, newIndex + 1)
            }
        }
        return changes
    }
}
