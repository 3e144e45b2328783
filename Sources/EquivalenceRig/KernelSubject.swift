// SPDX-License-Identifier: Apache-2.0

package import Equivalence
internal import LinuxKernel
package import RedirectionEngine
package import RedirectionModel

/// A backend in this kernel, watched from all sides.
package struct KernelSubject: Subject {
    package let name: String
    private let backend: any RedirectionBackend
    /// What the backend is told instead of the plan: how a wrong compiler is made.
    private let distort: @Sendable (RedirectionPlan) -> RedirectionPlan

    package init(
        _ name: String, _ backend: any RedirectionBackend,
        distorting distort: @escaping @Sendable (RedirectionPlan) -> RedirectionPlan = { $0 }
    ) {
        self.name = name
        self.backend = backend
        self.distort = distort
    }

    package var timing: [String: Duration] = [:]

    package mutating func observe(_ trial: Trial) async throws -> Observation {
        let t0 = ContinuousClock.now
        let surroundings = try Surroundings(for: trial)
        var pod = try Pod(for: trial.plan, in: surroundings)
        timing["pod", default: .zero] += ContinuousClock.now - t0
        let outcome: Result<Observation, any Error>
        do {
            outcome = .success(try await observe(trial, &pod, surroundings))
        } catch {
            outcome = .failure(error)
        }
        let t1 = ContinuousClock.now
        try await backend.remove(from: pod.workload)
        timing["remove", default: .zero] += ContinuousClock.now - t1
        return try outcome.get()
    }

    private mutating func observe(_ trial: Trial, _ pod: inout Pod, _ surroundings: Surroundings) async throws -> Observation {
        if trial.listensFirst { try pod.serve(trial) }
        let t1 = ContinuousClock.now
        do throws(RedirectionError) {
            try await backend.apply(distort(trial.plan), to: pod.workload)
        } catch {
            guard case .inexpressible(let part, _) = error else { throw error }
            return .refused(part: part)
        }
        timing["apply", default: .zero] += ContinuousClock.now - t1
        let t2 = ContinuousClock.now
        if !trial.listensFirst { try pod.serve(trial) }
        timing["serve", default: .zero] += ContinuousClock.now - t2
        let t3 = ContinuousClock.now
        let os = trial.attempts.map { probe($0, of: trial, pod, surroundings).observe() }
        timing["probe", default: .zero] += ContinuousClock.now - t3
        return .outcomes(os)
    }

    private func probe(_ attempt: Attempt, of trial: Trial, _ pod: Pod, _ surroundings: Surroundings) -> Probe {
        let flow = attempt.flow
        let target = surroundings.neighbor(having: flow.destination.address).services
        let namespace =
            switch attempt.origin {
            case .pod: pod.namespace
            case .peer: surroundings.neighbor(having: flow.source.address).namespace
            case .guest: surroundings.guest ?? pod.namespace
            }
        let services = pod.services(flow.protocol)
            + [target[flow.protocol, flow.destination.port]].compactMap(\.self)
        return Probe(
            attempt: attempt,
            patience: trial.expectedOutcome(of: attempt) == .dropped ? .milliseconds(15) : .seconds(2),
            keepsDestination: flow.direction == .inbound && trial.plan.inboundMode != .redirect,
            services: services, namespace: namespace)
    }
}
