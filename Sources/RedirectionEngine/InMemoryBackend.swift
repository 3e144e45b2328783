// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// A backend without a kernel: the engine's only test double, and the contract in its shortest
/// form.
package actor InMemoryBackend: RedirectionBackend {
    package nonisolated let mechanism: Mechanism
    /// Plans it refuses, by the part it claims not to be able to express.
    private let refusal: @Sendable (RedirectionPlan) -> String?
    private var plans: [Workload.ID: RedirectionPlan] = [:]
    private var counts: [Workload.ID: ReasonCounters] = [:]

    package init(
        as mechanism: Mechanism = .ebpf,
        refusing refusal: @escaping @Sendable (RedirectionPlan) -> String? = { _ in nil }
    ) {
        self.mechanism = mechanism
        self.refusal = refusal
    }

    package func apply(
        _ plan: RedirectionPlan, to workload: Workload
    ) async throws(RedirectionError) {
        if let part = refusal(plan) {
            throw .inexpressible(part: part, mechanism: mechanism)
        }
        plans[workload.id] = plan.isEnabled ? plan : nil
        counts[workload.id] = nil
    }

    package func remove(from workload: Workload) async throws(RedirectionError) {
        plans[workload.id] = nil
        counts[workload.id] = nil
    }

    package func installed(
        in workload: Workload
    ) async throws(RedirectionError) -> PlanFingerprint? {
        plans[workload.id]?.fingerprint
    }

    package func counters(
        in workload: Workload
    ) async throws(RedirectionError) -> ReasonCounters {
        counts[workload.id] ?? ReasonCounters()
    }

    /// What the workload's traffic meets; it is counted.
    package func verdict(for flow: Flow, in workload: Workload) -> Verdict {
        guard let plan = plans[workload.id] else { return Verdict(.pass, .disabled) }
        let verdict = plan.verdict(for: flow)
        counts[workload.id, default: ReasonCounters()][plan.table(for: flow), verdict.reason] += 1
        return verdict
    }
}
