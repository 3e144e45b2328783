// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// A backend without a kernel: the engine's only test double, and the contract in its shortest
/// form.
package actor InMemoryBackend: RedirectionBackend {
    package nonisolated let mechanism: Mechanism
    /// Plans it refuses, by the part it claims not to be able to express.
    private let refusal: @Sendable (RedirectionPlan) -> String?
    private var plans: [Workload.ID: RedirectionPlan] = [:]

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
    }

    package func remove(from workload: Workload) async throws(RedirectionError) {
        plans[workload.id] = nil
    }

    package func installed(
        in workload: Workload
    ) async throws(RedirectionError) -> PlanFingerprint? {
        plans[workload.id]?.fingerprint
    }

    /// What the workload's traffic would meet.
    package func verdict(for flow: Flow, in workload: Workload) -> Verdict {
        plans[workload.id]?.verdict(for: flow) ?? Verdict(.pass, .disabled)
    }
}
