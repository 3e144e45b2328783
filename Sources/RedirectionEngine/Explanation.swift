// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// What happens to a flow, why, and what of each mechanism decides it.
package struct Explanation: Hashable, Sendable, Encodable {
    package struct Backend: Hashable, Sendable, Encodable {
        /// Whether the workload has what the answer speaks of.
        package enum State: String, Sendable, Encodable {
            case installed
            /// Another plan is there, or this one with changes.
            case differs
            case absent
            /// No workload was named, or what it has cannot be read.
            case unknown
        }

        package let mechanism: Mechanism
        package let state: State
        /// The rules or entries that decide, the last being the one; `nil` when it refuses.
        package let deciders: [String]?
        package let refusal: String?
    }

    package let flow: String
    package let verdict: String
    package let reason: String
    package let because: String
    package let backends: [Backend]

    /// Explains a flow under a plan, of a workload if there is one.
    package init(
        _ flow: Flow, under plan: RedirectionPlan, in workload: Workload?,
        by inspectors: [any PlanInspector]
    ) async {
        let verdict = plan.verdict(for: flow)
        self.flow = flow.sentence
        self.verdict = "\(verdict)"
        reason = "\(verdict.reason)"
        because = verdict.reason.meaning(plan.table(for: flow))
        var backends: [Backend] = []
        for inspector in inspectors {
            backends.append(await Backend(flow, under: plan, in: workload, inspector))
        }
        self.backends = backends
    }
}

extension Explanation.Backend {
    fileprivate init(
        _ flow: Flow, under plan: RedirectionPlan, in workload: Workload?,
        _ inspector: any PlanInspector
    ) async {
        mechanism = inspector.mechanism
        state = await State(of: plan, in: workload, inspector)
        do throws(RedirectionError) {
            deciders = try inspector.deciders(on: flow, under: plan)
            refusal = nil
        } catch {
            deciders = nil
            refusal = "\(error)"
        }
    }
}

extension Explanation.Backend.State {
    fileprivate init(
        of plan: RedirectionPlan, in workload: Workload?, _ inspector: any PlanInspector
    ) async {
        guard let workload else {
            self = .unknown
            return
        }
        do throws(RedirectionError) {
            let installed = try await inspector.installed(in: workload)
            let planned = try inspector.render(plan)
            self = installed.map { $0 == planned ? .installed : .differs } ?? .absent
        } catch {
            self = .unknown
        }
    }
}
