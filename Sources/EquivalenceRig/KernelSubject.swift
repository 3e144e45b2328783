// SPDX-License-Identifier: Apache-2.0

package import Equivalence
internal import LinuxKernel
package import RedirectionEngine
package import RedirectionModel

/// A backend in this kernel, watched from all sides.
package struct KernelSubject: Subject {
    package let name: String
    package let deviations: Set<Deviation>
    private let backend: any RedirectionBackend
    /// What the backend is told instead of the plan: how a wrong compiler is made.
    private let distort: @Sendable (RedirectionPlan) -> RedirectionPlan

    package init(
        _ name: String, _ backend: any RedirectionBackend, deviations: Set<Deviation> = [],
        distorting distort: @escaping @Sendable (RedirectionPlan) -> RedirectionPlan = { $0 }
    ) {
        self.name = name
        self.deviations = deviations
        self.backend = backend
        self.distort = distort
    }

    package mutating func observe(_ trial: Trial) async throws -> Observation {
        let surroundings = try Surroundings(for: trial)
        var pod = try Pod(for: trial.plan, in: surroundings)
        let outcome: Result<Observation, any Error>
        do {
            outcome = .success(try await observe(trial, &pod, surroundings))
        } catch {
            outcome = .failure(error)
        }
        try await backend.remove(from: pod.workload)
        try pod.workload.cgroup?.remove()
        return try outcome.get()
    }

    private func observe(
        _ trial: Trial, _ pod: inout Pod, _ surroundings: Surroundings
    ) async throws -> Observation {
        if trial.listensFirst { try pod.serve(trial) }
        do throws(RedirectionError) {
            try await backend.apply(distort(trial.plan), to: pod.workload)
        } catch {
            return try refusal(error)
        }
        if !trial.listensFirst { try pod.serve(trial) }
        var oddities: [String] = []
        let outcomes = trial.attempts.map { attempt in
            let begin = ContinuousClock.now
            let outcome = probe(attempt, of: trial, pod, surroundings).observe()
            let duration = ContinuousClock.now - begin
            if duration > .milliseconds(500) { oddities.append("\(attempt) took \(duration)") }
            return outcome
        }
        let counters = try await backend.counters(in: pod.workload)
        return .outcomes(counted(outcomes, of: trial, counters), oddities: oddities)
    }

    /// The outcomes, with those among them that came out right and were not counted so.
    private func counted(
        _ outcomes: [Outcome], of trial: Trial, _ counters: ReasonCounters
    ) -> [Outcome] {
        var outcomes = outcomes
        let flows = trial.attempts.map(trial.flow)
        for miscount in counters.miscounts(
            after: flows, under: trial.plan, by: backend.mechanism)
        {
            // A row that should not have counted at all is nobody's; the first stands for all.
            let index = flows.firstIndex { flow in
                trial.plan.table(for: flow) == miscount.table
                    && trial.plan.verdict(for: flow).reason == miscount.reason
            }
            let attempt = index ?? 0
            if trial.expectedOutcome(of: trial.attempts[attempt]).isMet(by: outcomes[attempt]) {
                outcomes[attempt] = .miscounted("\(miscount)")
            }
        }
        return outcomes
    }

    /// What a mechanism may say instead of carrying a plan out: that it cannot, or that this kernel
    /// cannot.
    private func refusal(_ error: RedirectionError) throws(RedirectionError) -> Observation {
        switch error {
        case .inexpressible(let part, _): return .refused(part: part)
        case .unsupported(let feature, _):
            return .refused(part: KernelSubject.missing + feature)
        default: throw error
        }
    }

    /// How a refusal begins that is the kernel's.
    package static let missing = "what this kernel lacks: "

    private func probe(
        _ attempt: Attempt, of trial: Trial, _ pod: Pod, _ surroundings: Surroundings
    ) -> Probe {
        let flow = attempt.flow
        let target = surroundings.neighbor(having: flow.destination.address).services
        let namespace =
            switch attempt.origin {
            case .pod: pod.namespace
            case .peer: surroundings.neighbor(having: flow.source.address).namespace
            case .guest: surroundings.guest ?? pod.namespace
            }
        let services =
            pod.services(flow.protocol)
            + [target[flow.protocol, flow.destination.port]].compactMap(\.self)
        return Probe(
            attempt: attempt,
            patience: trial.expectedOutcome(of: attempt) == .dropped
                ? .milliseconds(15) : .seconds(2),
            keepsDestination: flow.direction == .inbound && trial.plan.inboundMode != .redirect,
            services: services, namespace: namespace)
    }
}
