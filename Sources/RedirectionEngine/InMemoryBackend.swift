// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel
internal import Synchronization

/// What a kernel would hold for backends that have none: it outlives them, and can be copied.
package final class InMemoryKernel: Sendable {
    /// Something a backend is asked to do.
    package enum Call: String, Hashable, Sendable, CaseIterable {
        case apply, remove, retire, drift, installed
    }

    struct Holding: Hashable {
        let mechanism: Mechanism
        let workload: Workload.ID
    }

    private struct Contents {
        var plans: [Holding: RedirectionPlan] = [:]
        /// Connections that a mechanism which has retired stays for.
        var lingering: [Holding: Int] = [:]
        var failing: [Call: [Mechanism: RedirectionError]] = [:]
    }

    private let contents: Mutex<Contents>

    package convenience init() { self.init(Contents()) }

    private init(_ contents: Contents) { self.contents = Mutex(contents) }

    /// A kernel that has become what this one is now, and goes its own way from here.
    package func copy() -> InMemoryKernel { InMemoryKernel(contents.withLock { $0 }) }

    /// Lets a mechanism's calls of this kind fail from now on, or work again.
    package func fail(
        _ call: Call, of mechanism: Mechanism, _ fails: Bool = true,
        with error: RedirectionError? = nil
    ) {
        let demanded = RedirectionError.limit("\(call.rawValue) of \(mechanism) fails on demand")
        contents.withLock {
            $0.failing[call, default: [:]][mechanism] = fails ? error ?? demanded : nil
        }
    }

    /// Gives a mechanism established connections, which it will stay for when it retires.
    package func connect(_ count: Int, by mechanism: Mechanism, in workload: Workload.ID) {
        contents.withLock {
            $0.lingering[Holding(mechanism: mechanism, workload: workload)] = count
        }
    }

    /// Takes a mechanism's plan away, as somebody who flushes tables does.
    package func lose(_ mechanism: Mechanism, of workload: Workload.ID) {
        self[Holding(mechanism: mechanism, workload: workload)] = nil
    }

    /// Gives up what is held for all other workloads but those that are there; returns these.
    package func forget(
        allBut workloads: Set<Workload.ID>, sparing there: Set<Workload.ID>
    ) -> [Workload.ID] {
        contents.withLock { contents in
            let kept = workloads.union(there)
            contents.plans = contents.plans.filter { kept.contains($0.key.workload) }
            contents.lingering = contents.lingering.filter { kept.contains($0.key.workload) }
            return there.filter { id in contents.plans.keys.contains { $0.workload == id } }
                .sorted()
        }
    }

    /// The mechanisms that have anything for the workload.
    package func holders(of workload: Workload.ID) -> Set<Mechanism> {
        contents.withLock { contents in
            let holdings = Array(contents.plans.keys) + contents.lingering.keys
            return Set(holdings.filter { $0.workload == workload }.map(\.mechanism))
        }
    }

    subscript(holding: Holding) -> RedirectionPlan? {
        get { contents.withLock { $0.plans[holding] } }
        set { contents.withLock { $0.plans[holding] = newValue } }
    }

    func connections(of holding: Holding) -> Int? { contents.withLock { $0.lingering[holding] } }

    func disconnect(_ holding: Holding) { contents.withLock { $0.lingering[holding] = nil } }

    func check(_ call: Call, _ mechanism: Mechanism) throws(RedirectionError) {
        if let error = contents.withLock({ $0.failing[call]?[mechanism] }) { throw error }
    }
}

/// A backend without a kernel: the engine's only test double, and the contract in its shortest
/// form.
package actor InMemoryBackend: RedirectionBackend {
    package nonisolated let mechanism: Mechanism
    /// Plans it refuses, by the part it claims not to be able to express.
    private let refusal: @Sendable (RedirectionPlan) -> String?
    private let kernel: InMemoryKernel
    private var counts: [Workload.ID: ReasonCounters] = [:]

    package init(
        as mechanism: Mechanism = .ebpf, in kernel: InMemoryKernel = InMemoryKernel(),
        refusing refusal: @escaping @Sendable (RedirectionPlan) -> String? = { _ in nil }
    ) {
        self.mechanism = mechanism
        self.kernel = kernel
        self.refusal = refusal
    }

    private nonisolated func holding(_ workload: Workload) -> InMemoryKernel.Holding {
        InMemoryKernel.Holding(mechanism: mechanism, workload: workload.id)
    }

    package func apply(
        _ plan: RedirectionPlan, to workload: Workload
    ) async throws(RedirectionError) {
        if let part = refusal(plan) {
            throw .inexpressible(part: part, mechanism: mechanism)
        }
        try kernel.check(.apply, mechanism)
        ChangeLog.about(to: .rules, "write the plan of \(workload.id)")
        kernel[holding(workload)] = plan.isEnabled ? plan : nil
        ChangeLog.about(to: .entries, "reset the counts of \(workload.id)")
        counts[workload.id] = nil
    }

    package func remove(from workload: Workload) async throws(RedirectionError) {
        try kernel.check(.remove, mechanism)
        ChangeLog.about(to: .rules, "remove the plan of \(workload.id)")
        kernel[holding(workload)] = nil
        kernel.disconnect(holding(workload))
        counts[workload.id] = nil
    }

    package func retire(
        from workload: Workload
    ) async throws(RedirectionError) -> Retirement {
        try kernel.check(.retire, mechanism)
        ChangeLog.about(to: .rules, "retire the plan of \(workload.id)")
        kernel[holding(workload)] = nil
        if let count = kernel.connections(of: holding(workload)), count > 0 {
            return .lingering(connections: count)
        }
        kernel.disconnect(holding(workload))
        return .complete
    }

    package func drift(
        from plan: RedirectionPlan, in workload: Workload
    ) async throws(RedirectionError) -> [Drift] {
        try kernel.check(.drift, mechanism)
        let wanted = plan.isEnabled ? plan : nil
        guard kernel[holding(workload)] != wanted else { return [] }
        let isGone = kernel[holding(workload)] == nil
        return [Drift(isGone ? .missing : .changed, .rules, "the plan of \(workload.id)")]
    }

    package func installed(
        in workload: Workload
    ) async throws(RedirectionError) -> PlanFingerprint? {
        try kernel.check(.installed, mechanism)
        return kernel[holding(workload)]?.fingerprint
    }

    package func counters(
        in workload: Workload
    ) async throws(RedirectionError) -> ReasonCounters {
        counts[workload.id] ?? ReasonCounters()
    }

    /// What the workload's traffic meets; it is counted.
    package func verdict(for flow: Flow, in workload: Workload) -> Verdict {
        guard let plan = kernel[holding(workload)] else { return Verdict(.pass, .disabled) }
        let verdict = plan.verdict(for: flow)
        counts[workload.id, default: ReasonCounters()][plan.table(for: flow), verdict.reason] += 1
        return verdict
    }
}
