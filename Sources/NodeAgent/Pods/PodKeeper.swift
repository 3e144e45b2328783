// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import LinuxKernel
internal import PolicyFile
internal import RedirectionEngine
internal import RedirectionModel
internal import SystemPackage

/// What runtimes ask of pods, done by the engine: one thing at a time to a pod, any number of pods at
/// once.
struct PodKeeper: Sendable {
    let engine: Engine
    var policy: NodePolicy
    let metrics: AgentMetrics
    /// The cluster whose node this is, if there is one.
    var cluster: Cluster?
    /// Below which kubelet makes its pods' cgroups.
    var cgroups: Cgroup?
    private let departures = Departures()

    init(
        engine: Engine, policy: NodePolicy, metrics: AgentMetrics, cluster: Cluster? = nil,
        cgroups: Cgroup? = nil
    ) {
        self.engine = engine
        self.policy = policy
        self.metrics = metrics
        self.cluster = cluster
        self.cgroups = cgroups
    }

    func add(_ pod: PodRequest, isLate: Bool = false) async throws(AgentRefusal) -> PodAnswer {
        do throws(AgentRefusal) {
            let (record, reason) = try await addTold(pod, isLate: isLate)
            cluster?.events.tell(of: record, pod.pod)
            cluster?.lookAgain(pod.pod)
            return PodAnswer(
                redirected: record.mechanism != nil, mechanism: record.mechanism?.rawValue,
                reason: ([record.reason] + reason).joined(separator: "; "))
        } catch {
            cluster?.events.tell(of: error, pod.pod)
            throw error
        }
    }

    /// Adds a pod; what is to be said beside the record's reason comes with it.
    private func addTold(
        _ pod: PodRequest, isLate: Bool
    ) async throws(AgentRefusal) -> (WorkloadRecord, [String]) {
        guard let path = pod.namespacePath else {
            throw AgentRefusal(malformed: "must be given", field: "namespacePath")
        }
        let addresses = try addresses(pod, in: path)
        let place = WorkloadPlace(
            id: pod.id, namespace: path, cgroup: cgroups?.ofPod(pod.pod.uid)?.path)
        guard let cluster else {
            let resolved = try policy.resolve(pod, addresses)
            let record = try await apply(resolved, to: place, labels: pod.labels)
            let isUntold = record.mechanism == nil && pod.annotations == nil
            return (record, isUntold ? ["the runtime has passed no annotations"] : [])
        }
        let facts = try await facts(of: pod, in: cluster)
        let resolved = try policy.resolve(pod, addresses, knowing: facts)
        var labels = pod.labels
        labels[WorkloadRecord.decision] = resolved.decision
        if isLate { labels[WorkloadRecord.late] = "true" }
        if policy.isEnrolling { labels[WorkloadRecord.enrolled] = "true" }
        let record = try await apply(resolved, to: place, labels: labels)
        return (record, [resolved.reason].compactMap(\.self))
    }

    /// Whether a pod that nobody has told us of is to be redirected.
    func redirects(_ pod: PodRequest, knowing facts: PodFacts) throws(AgentRefusal) -> Bool {
        try policy.resolve(pod, [], knowing: facts).mode != .none
    }

    /// Adds a pod that nobody has told us of; `nil` if it goes meanwhile, by its DEL or else by what
    /// `isThere` says then.
    func addMissed(
        _ pod: PodRequest, isThere: () -> Bool
    ) async throws(AgentRefusal) -> PodAnswer? {
        let (added, isGone) = await departures.during(pod.id) {
            () async throws(AgentRefusal) in try await add(pod, isLate: true)
        }
        guard !isGone, isThere() else {
            // What cannot be removed now is forgotten with its namespace.
            try? await delete(pod.id)
            return nil
        }
        return try added.get()
    }

    /// What is to be known of a pod that starts; one that is deleted meanwhile is refused.
    private func facts(
        of pod: PodRequest, in cluster: Cluster
    ) async throws(AgentRefusal) -> PodFacts {
        let (facts, isGone) = await departures.during(pod.id) { () async throws(AgentRefusal) in
            try await cluster.facts(of: pod) { (facts) throws(AgentRefusal) in
                try policy.depends(pod, on: facts)
            }
        }
        guard !isGone else {
            throw AgentRefusal(
                503,
                AgentError(
                    "\(pod.name) was deleted while the API server was asked about it",
                    remedy: "add it again if it is to run", retryable: true))
        }
        return try facts.get()
    }

    /// Has a pod on record follow another decision; one that is gone by now is not brought back.
    func revise(
        _ id: Workload.ID, to resolved: NodePolicy.Resolved
    ) async throws(AgentRefusal) -> WorkloadRecord {
        try await change(id, resolved.mode) { () async throws(EngineError) in
            try await self.engine.revise(id) { record in
                record.plan = resolved.plan
                record.mode = resolved.mode
                record.labels?[WorkloadRecord.decision] = resolved.decision
            }
        }
    }

    /// Has a plan carried out, and takes the time.
    func apply(
        _ resolved: NodePolicy.Resolved, to place: WorkloadPlace, labels: [String: String]?
    ) async throws(AgentRefusal) -> WorkloadRecord {
        try await change(place.id, resolved.mode) { () async throws(EngineError) in
            try await self.engine.apply(resolved.plan, resolved.mode, to: place, labels: labels)
        }
    }

    func setMode(
        _ mode: PolicyMode, of id: Workload.ID
    ) async throws(AgentRefusal) -> WorkloadRecord {
        try await change(id, mode) { () async throws(EngineError) in
            try await self.engine.setMode(mode, of: id)
        }
    }

    private func change(
        _ id: Workload.ID, _ mode: PolicyMode,
        _ body: () async throws(EngineError) -> WorkloadRecord
    ) async throws(AgentRefusal) -> WorkloadRecord {
        await metrics.keepCounts(of: id, in: engine)
        let start = ContinuousClock.now
        do throws(EngineError) {
            let record = try await body()
            metrics.noteApply(by: record.mechanism?.rawValue ?? "none", since: start)
            await metrics.beginCounts(of: id, in: engine)
            return record
        } catch {
            metrics.noteApply(by: "refused", since: start)
            throw AgentRefusal(error, mode: mode)
        }
    }

    /// What the plugins before ours have given the pod, and what its interfaces have.
    private func addresses(
        _ pod: PodRequest, in path: String
    ) throws(AgentRefusal) -> Set<IPAddress> {
        var addresses: Set<IPAddress> = []
        for (index, text) in pod.addresses.enumerated() {
            guard let address = IPAddress(String(text.prefix { $0 != "/" })) else {
                throw AgentRefusal(
                    malformed: "is no address", field: "addresses[\(index)]", value: text)
            }
            addresses.insert(address)
        }
        do throws(KernelError) {
            return addresses.union(try NetworkNamespace.open(path).addresses())
        } catch {
            throw AgentRefusal(.unreachable(pod.name, error))
        }
    }

    /// Succeeds if the pod is as it was added; what has changed since is put right where it can be.
    func check(_ pod: PodRequest) async throws(AgentRefusal) -> PodAnswer {
        let record: WorkloadRecord
        do throws(EngineError) {
            try await engine.look(at: pod.id)
            record = try await engine.record(of: pod.id)
            try await refuseOther(record, pod)
        } catch { throw AgentRefusal(error) }
        guard record.drift.isEmpty else {
            throw AgentRefusal(
                503,
                AgentError(
                    "\(pod.name) is not as it should be: "
                        + record.drift.map { "\($0)" }.joined(separator: "; "),
                    remedy: "see what changes the pod's rules beside swerved", retryable: true))
        }
        return PodAnswer(
            redirected: record.mechanism != nil, mechanism: record.mechanism?.rawValue,
            reason: record.reason)
    }

    /// A name of the pod's that leads to somebody else is no success.
    private func refuseOther(
        _ record: WorkloadRecord, _ pod: PodRequest
    ) async throws(EngineError) {
        guard let path = pod.namespacePath else { return }
        do throws(KernelError) {
            let there = try NetworkNamespace.open(path)
            guard there.inode != record.identity.namespaceInode else { return }
        } catch { throw .unreachable(pod.id, error) }
        throw .taken(pod.id, by: record.place)
    }

    /// Succeeds for a pod that nobody knows, or that is gone.
    func delete(_ id: Workload.ID) async throws(AgentRefusal) {
        departures.note(id)
        do throws(EngineError) {
            guard try await isKnown(id) else { return }
            await metrics.keepCounts(of: id, in: engine)
            try await engine.remove(id)
        } catch {
            if case .unknown = error { return }
            throw AgentRefusal(error)
        }
    }

    private func isKnown(_ id: Workload.ID) async throws(EngineError) -> Bool {
        do throws(EngineError) {
            _ = try await engine.record(of: id)
            return true
        } catch {
            guard case .unknown = error else { throw error }
            // An ADD that was interrupted has a journal and no record.
            return ((try? engine.store.pending(id)) ?? nil) != nil
        }
    }

    /// Deletes every pod of a network that is not among `valid`.
    func collect(_ request: CollectRequest) async throws(AgentRefusal) {
        let valid = Set(request.valid.map(FailedOpen.name))
        var failure: AgentRefusal?
        for record in engine.list().records
        where record.labels?["network"] == request.network && !valid.contains(record.id) {
            do throws(AgentRefusal) { try await delete(record.id) } catch { failure = error }
        }
        if let failure { throw failure }
    }
}
