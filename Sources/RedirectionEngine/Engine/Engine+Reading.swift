// SPDX-License-Identifier: Apache-2.0

/// What can be known of a node's workloads without changing any.
extension Engine {
    /// What is on record of a workload.
    package func record(of id: Workload.ID) throws(EngineError) -> WorkloadRecord {
        try state { () throws(StateError) in try StateStore.check(id) }
        return try known(id)
    }

    /// The workload of a record, opened.
    package func workload(of record: WorkloadRecord) throws(EngineError) -> Workload? {
        try reach(record)
    }

    /// How often each row of the verdict table has decided in a workload; nothing is counted where
    /// nothing is redirected.
    package func counters(of id: Workload.ID) async throws(EngineError) -> ReasonCounters {
        try await inCharge { () async throws(EngineError) in
            try await self.counts(of: try self.record(of: id)) ?? ReasonCounters()
        }
    }

    /// The same of every workload that is redirected and there, and what the mechanisms tell of
    /// themselves: one look for all, so that backends are made once.
    package func readings() async throws(EngineError) -> NodeReadings {
        try await inCharge { () async throws(EngineError) in
            var readings = NodeReadings()
            for record in list().records {
                guard let mechanism = record.mechanism else { continue }
                // Who goes meanwhile has nothing to count any more.
                guard let counts = try? await self.counts(of: record) else { continue }
                readings.counters[record.id] = .init(mechanism: mechanism, counts: counts)
            }
            readings.gauges = await self.mechanisms.gauges()
            return readings
        }
    }

    private func counts(
        of record: WorkloadRecord
    ) async throws(EngineError) -> ReasonCounters? {
        guard let mechanism = record.mechanism, let workload = try reach(record) else {
            return nil
        }
        return try await backend { () async throws(RedirectionError) in
            try await self.mechanisms.backend(mechanism).counters(in: workload)
        }
    }
}

/// What a look at everything that counts has found.
package struct NodeReadings: Sendable {
    package struct Counters: Sendable {
        package let mechanism: Mechanism
        package let counts: ReasonCounters

        package init(mechanism: Mechanism, counts: ReasonCounters) {
            self.mechanism = mechanism
            self.counts = counts
        }
    }

    package var counters: [Workload.ID: Counters] = [:]
    package var gauges: [MechanismGauge] = []
}

/// A number that a mechanism tells of itself on this node.
package struct MechanismGauge: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        /// Entries of a map that there are.
        case entries
        /// Entries that the map has room for.
        case capacity
        /// How often something has gone wrong so far.
        case failures
    }

    package let mechanism: Mechanism
    package let kind: Kind
    /// Of what: a map, a failure.
    package let name: String
    package let value: UInt64

    package init(_ mechanism: Mechanism, _ kind: Kind, of name: String, _ value: UInt64) {
        self.mechanism = mechanism
        self.kind = kind
        self.name = name
        self.value = value
    }
}
