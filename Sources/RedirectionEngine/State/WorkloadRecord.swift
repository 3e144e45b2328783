// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// What is kept of a workload: enough for another process to go on where this one ends.
package struct WorkloadRecord: Hashable, Sendable, Codable, Identifiable {
    /// The version this build writes, and the newest it reads.
    package static let currentVersion = 1

    package private(set) var version = WorkloadRecord.currentVersion
    package let place: WorkloadPlace
    package let identity: WorkloadIdentity
    /// What the operator asked for.
    package var mode: PolicyMode
    package var plan: RedirectionPlan
    /// What carries the plan out, and why it is that; `nil` when nothing is redirected.
    package private(set) var choice: Choice?
    /// What whoever asked knows the workload by; nothing to the engine.
    package var labels: [String: String]?
    /// Every mechanism that may have something in the kernel for the workload.
    package var touched: Set<Mechanism>
    /// How the kernel differed when it was last looked at.
    package var drift: [Drift] = []
    /// How many differences have been found so far, by mechanism and kind.
    package var driftCounts: [DriftCount] = []

    package var id: Workload.ID { place.id }
    package var mechanism: Mechanism? { choice?.mechanism }

    /// Why it is that mechanism, or none.
    package var reason: String {
        choice?.reason ?? (mode == .none ? "mode none" : "the plan is off")
    }

    /// Mechanisms that linger for the sake of old connections.
    package var retiring: [Mechanism] {
        touched.filter { $0 != mechanism }.sorted { $0.rawValue < $1.rawValue }
    }

    package init(
        _ place: WorkloadPlace, _ identity: WorkloadIdentity, mode: PolicyMode,
        plan: RedirectionPlan, choice: Choice?, touched: Set<Mechanism> = [],
        labels: [String: String]? = nil
    ) {
        self.labels = labels
        self.place = place
        self.identity = identity
        self.mode = mode
        self.plan = plan
        self.touched = touched
        choose(choice)
    }

    /// Has another mechanism carry the plan out; the one before is still touched.
    package mutating func choose(_ choice: Choice?) {
        self.choice = choice
        if let choice { touched.insert(choice.mechanism) }
    }

    /// Takes note of what differs now; returns what did not differ at the last look.
    package mutating func note(_ found: [Drift], of mechanism: Mechanism) -> [Drift] {
        let news = found.filter { !drift.contains($0) }
        drift = found
        for difference in news {
            let kind = difference.kind
            let index = driftCounts.firstIndex { $0.mechanism == mechanism && $0.kind == kind }
            if let index {
                driftCounts[index].count += 1
            } else {
                driftCounts.append(DriftCount(mechanism: mechanism, kind: kind, count: 1))
            }
        }
        return news
    }
}

/// How often a kind of difference has been found.
package struct DriftCount: Hashable, Sendable, Codable {
    package let mechanism: Mechanism
    package let kind: Drift.Kind
    package var count: Int
}
