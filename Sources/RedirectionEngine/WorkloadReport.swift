// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

/// A workload as operators are told of it: `swerve status`, and the agent.
package struct WorkloadReport: Hashable, Sendable, Codable {
    package let id: String
    package let namespace: String
    package let cgroup: String?
    package let mode: String
    package let mechanism: Mechanism?
    package let reason: String
    /// Which of its ways the mechanism goes here, where it has several.
    package let manner: String?
    /// What was passed over for the mechanism, and why.
    package let passedOver: [PassedOver]
    /// What of others' decides before it.
    package let others: [ForeignHook]
    /// The plan's fingerprint.
    package let plan: String
    /// Mechanisms that stay for the sake of old connections.
    package let retiring: [Mechanism]
    /// How the kernel differed at the last look.
    package let drift: [String]
    /// How many differences have been found so far.
    package let driftCounts: [DriftCount]
    /// What whoever asked for it knows the workload by.
    package let labels: [String: String]?
    /// Whether its namespace and cgroup are there; `nil` where nobody looked.
    package var isThere: Bool?
    /// Whether something was begun and not finished.
    package var isUnfinished: Bool?

    package init(_ record: WorkloadRecord) {
        id = record.id
        namespace = record.place.namespace
        cgroup = record.place.cgroup
        mode = record.mode.rawValue
        mechanism = record.mechanism
        reason = record.reason
        manner = record.choice?.manner
        passedOver = record.choice?.passedOver ?? []
        others = record.choice?.others ?? []
        plan = "\(record.plan.fingerprint)"
        retiring = record.retiring
        drift = record.drift.map { "\($0)" }
        driftCounts = record.driftCounts
        labels = record.labels
    }

    package init(_ record: WorkloadRecord, of engine: Engine) async {
        self.init(record)
        isThere = try? await engine.isThere(record)
        isUnfinished = ((try? engine.store.pending(record.id)) ?? nil) != nil
    }

    /// The last look, in a word or two.
    package var state: String {
        if isThere == false { return "gone" }
        if isUnfinished == true { return "unfinished" }
        let total = driftCounts.map(\.count).reduce(0, +)
        if !drift.isEmpty { return "\(drift.count) now, \(total) so far" }
        return total == 0 ? "-" : "repaired, \(total) so far"
    }
}

extension Engine {
    /// Every workload on record or begun, and what is wrong with files that cannot be read.
    package nonisolated func report() async throws(StateError) -> (
        workloads: [WorkloadReport], problems: [StateError]
    ) {
        var (records, problems) = list()
        // What was begun and has no record yet has its intention.
        let known = Set(records.map(\.id))
        for id in try store.ids() where !known.contains(id) {
            if let begun = try? store.pending(id) { records.append(begun.record) }
        }
        var reports: [WorkloadReport] = []
        for record in records { reports.append(await WorkloadReport(record, of: self)) }
        return (reports, problems)
    }
}
