// SPDX-License-Identifier: Apache-2.0

internal import LocalHTTP
internal import RedirectionEngine
internal import RedirectionModel
internal import Synchronization

/// What the agent counts while it runs.
final class AgentMetrics: Sendable {
    private struct State {
        var connections = ConnectionTotals()
        var applies: [String: Histogram] = [:]
        var requests: [RequestKind: UInt64] = [:]
        var failedOpen = Bystanders()
        var missed = Bystanders()
        var undecided = 0
    }

    /// Pods that run without redirection though they should not, each counted once.
    private struct Bystanders {
        var now: Set<String> = []
        var total: UInt64 = 0

        mutating func note(_ names: Set<String>) {
            total += UInt64(names.subtracting(now).count)
            now = names
        }
    }

    private struct RequestKind: Hashable {
        let method: String
        let route: String
        let status: Int
    }

    private let state = Mutex(State())

    func noteApply(by mechanism: String, since start: ContinuousClock.Instant) {
        let time = ContinuousClock.now - start
        state.withLock { $0.applies[mechanism, default: Histogram()].add(time) }
    }

    /// Counts a request by its route, not by its path: whoever asks does not make up our labels.
    func noteRequest(_ method: String, _ route: String, _ status: Int) {
        let kind = RequestKind(method: method, route: route, status: status)
        state.withLock { $0.requests[kind, default: 0] += 1 }
    }

    /// Takes note of the pods that run without redirection for now, by `failurePolicy: open`.
    func noteFailedOpen(_ names: Set<String>) { state.withLock { $0.failedOpen.note(names) } }

    /// Takes note of those that nobody has told us of, and of how many may be such.
    func noteMissed(_ names: Set<String>, undecided: Int) {
        state.withLock { state in
            state.missed.note(names)
            state.undecided = undecided
        }
    }

    /// Takes these for older than the agent, before it counts anything.
    ///
    /// What they have counted by the first look at them is not its own.
    func begin(with ids: [Workload.ID]) {
        state.withLock { $0.connections = ConnectionTotals(older: Set(ids)) }
    }

    /// Adds up what a workload has counted, before its counters go, or may begin anew.
    func keepCounts(of id: Workload.ID, in engine: Engine) async {
        await look(at: id, in: engine) { $0.add($1, of: $2, seenBy: $3) }
    }

    /// Counts on from what a workload's counters are now; those of one that is new are zero.
    func beginCounts(of id: Workload.ID, in engine: Engine) async {
        guard state.withLock({ $0.connections.knows(id) }) else { return }
        await look(at: id, in: engine) { $0.begin($1, of: $2.id, seenBy: $3) }
    }

    /// Looks until nobody else has looked meanwhile; each time that somebody has is their success.
    private func look(
        at id: Workload.ID, in engine: Engine,
        _ take: (
            inout ConnectionTotals, NodeReadings.Counters, WorkloadRecord, ConnectionTotals.Look
        ) -> Bool
    ) async {
        while true {
            let look = state.withLock { $0.connections.look() }
            guard let (record, reading) = await read(id, in: engine) else { return }
            guard !state.withLock({ take(&$0.connections, reading, record, look) }) else { return }
        }
    }

    /// Adds up what all workloads have counted.
    @discardableResult
    func lookAround(
        _ engine: Engine
    ) async -> (records: [WorkloadRecord], problems: [StateError], readings: NodeReadings?) {
        let look = state.withLock { $0.connections.look() }
        let (records, problems) = engine.list()
        let readings = try? await engine.readings()
        state.withLock { state in
            for record in records {
                guard let reading = readings?.counters[record.id] else { continue }
                state.connections.add(reading, of: record, seenBy: look)
            }
            state.connections.keep(Set(records.map(\.id)), seenBy: look)
        }
        return (records, problems, readings)
    }

    private func read(
        _ id: Workload.ID, in engine: Engine
    ) async -> (WorkloadRecord, NodeReadings.Counters)? {
        guard let record = try? await engine.record(of: id), let mechanism = record.mechanism,
            let counts = try? await engine.counters(of: id)
        else { return nil }
        return (record, NodeReadings.Counters(mechanism: mechanism, counts: counts))
    }

    // MARK: Telling

    /// Everything, as it is now.
    func text(of engine: Engine, isReady: Bool, in cluster: Cluster? = nil) async -> String {
        let (records, problems, readings) = await lookAround(engine)
        let drifts = await engine.log.drifts
        var text = MetricsText()
        text.add("swerve_ready", .gauge, "Whether pods can be added.", [.init(isReady ? 1 : 0)])
        text.add(
            "swerve_state_problems", .gauge, "Files of the state that cannot be read.",
            [.init(problems.count)])
        text.addWorkloads(records)
        text.addDrift(records, drifts)
        if let readings { text.addGauges(readings.gauges) }
        if let cluster { text.add(cluster) }
        state.withLock { state in
            text.addConnections(state.connections)
            text.add(
                "swerve_apply_duration_seconds", .histogram,
                "How long it took to apply a plan, by what carries it out now.",
                state.applies.sorted { $0.key < $1.key }.flatMap {
                    $0.value.samples("mechanism", $0.key)
                })
            for (name, pods, why) in [
                ("failed_open", state.failedOpen, "by failurePolicy open"),
                ("missed", state.missed, "started by a network that did not call us"),
            ] {
                text.add(
                    "swerve_\(name)_pods", .gauge, "Pods that run without redirection, \(why).",
                    [.init(pods.now.count)])
                text.add(
                    "swerve_\(name)_total", .counter,
                    "Pods that were started without redirection, \(why).", [.init(pods.total)])
            }
            text.add(
                "swerve_undecided_pods", .gauge,
                "Pods started by a network that did not call us, of which too little is known.",
                [.init(state.undecided)])
            text.add(
                "swerve_requests_total", .counter, "Requests to the agent's API.",
                state.requests.samples { kind in
                    ["method": kind.method, "route": kind.route, "status": "\(kind.status)"]
                })
        }
        return text.text
    }
}

extension MetricsText {
    fileprivate mutating func addWorkloads(_ records: [WorkloadRecord]) {
        struct Kind: Hashable { let mechanism, mode: String }
        let kinds = records.map { record in
            Kind(mechanism: record.mechanism?.rawValue ?? "none", mode: record.mode.rawValue)
        }
        add(
            "swerve_workloads", .gauge, "Workloads on record, by what redirects them.",
            kinds.counted.samples { ["mechanism": $0.mechanism, "mode": $0.mode] })
        struct PassedOver: Hashable { let mechanism, cause: String }
        let passedOver = records.flatMap { $0.choice?.passedOver ?? [] }.map {
            PassedOver(mechanism: $0.mechanism.rawValue, cause: $0.cause.rawValue)
        }
        add(
            "swerve_passed_over_workloads", .gauge,
            "Workloads for which a mechanism was passed over, by why.",
            passedOver.counted.samples { ["mechanism": $0.mechanism, "cause": $0.cause] })
        let retiring = records.flatMap(\.retiring).map(\.rawValue)
        add(
            "swerve_retiring_workloads", .gauge,
            "Workloads in which a mechanism stays for old connections.",
            retiring.counted.samples { ["mechanism": $0] })
    }

    fileprivate mutating func addDrift(
        _ records: [WorkloadRecord], _ drifts: [EventLog.DriftCause: Int]
    ) {
        add(
            "swerve_drifted_workloads", .gauge,
            "Workloads in which the kernel is not as it should be.",
            [.init(records.count { !$0.drift.isEmpty })])
        add(
            "swerve_drift_total", .counter, "Differences found since the agent began, by kind.",
            drifts.mapValues { UInt64($0) }.samples { cause in
                ["mechanism": cause.mechanism.rawValue, "kind": cause.kind.rawValue]
            })
    }

    fileprivate mutating func addConnections(_ totals: ConnectionTotals) {
        add(
            "swerve_connections_total", .counter,
            "Connections decided about, by the row of the table that did (docs/semantics.md).",
            totals.rows.samples { row in
                [
                    "mechanism": row.mechanism.rawValue, "direction": row.direction.rawValue,
                    "verdict": row.verdict, "reason": "\(row.reason)",
                ]
            })
    }

    fileprivate mutating func addGauges(_ gauges: [MechanismGauge]) {
        for (kind, name, type, label, help) in [
            (MechanismGauge.Kind.entries, "swerve_map_entries", Kind.gauge, "map", "Entries."),
            (.capacity, "swerve_map_capacity", .gauge, "map", "Entries there is room for."),
            (.failures, "swerve_failures_total", .counter, "failure", "What went wrong."),
        ] {
            let own = gauges.filter { $0.kind == kind }.sorted { $0.name < $1.name }
            add(
                name, type, help,
                own.map {
                    Sample($0.value, ["mechanism": $0.mechanism.rawValue, label: $0.name])
                })
        }
    }
}

extension Array where Element: Hashable {
    /// How often each is there.
    fileprivate var counted: [Element: UInt64] {
        reduce(into: [:]) { $0[$1, default: 0] += 1 }
    }
}

extension Dictionary where Value == UInt64 {
    /// A sample each, in an order that stays the same.
    fileprivate func samples(
        _ labels: (Key) -> KeyValuePairs<String, String>
    ) -> [MetricsText.Sample] {
        map { MetricsText.Sample($0.value, labels($0.key)) }
            .sorted { one, other in
                one.labels.map(\.value).lexicographicallyPrecedes(other.labels.map(\.value))
            }
    }
}
