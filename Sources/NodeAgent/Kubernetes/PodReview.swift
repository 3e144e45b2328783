// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import KubernetesClient
internal import LinuxKernel
internal import Logging
internal import RedirectionEngine
internal import RedirectionModel

/// Has the pods that are on record follow what the cluster says of them.
actor PodReview {
    /// How many pods are changed at a time.
    private static let width = 4

    private let keeper: PodKeeper
    private let cluster: Cluster
    private let logger: Logger
    /// What could not be done for the moment, and when it is tried again.
    private var unfinished: [Workload.ID: Later] = [:]
    /// What has been refused: said once, and tried again when something else is said.
    private var refused: [Workload.ID: AgentRefusal] = [:]

    private struct Later {
        let backoff: Backoff
        let due: ContinuousClock.Instant
    }

    init(keeper: PodKeeper, cluster: Cluster, logger: Logger) {
        self.keeper = keeper
        self.cluster = cluster
        self.logger = logger
    }

    /// Looks at every pod of which something has changed.
    func run() async {
        let changes = cluster.view.takeChanges()
        let start = ContinuousClock.now
        guard !changes.isEmpty || unfinished.values.contains(where: { $0.due <= start }) else {
            return
        }
        let records = keeper.engine.list().records
        let ids = Set(records.map(\.id))
        unfinished = unfinished.filter { ids.contains($0.key) }
        refused = refused.filter { ids.contains($0.key) }
        let concerned = records.filter { record in
            guard let name = record.podName else { return false }
            return changes.concern(name) || unfinished[record.id].map { $0.due <= start } ?? false
        }
        await withTaskGroup(of: Void.self) { group in
            for (number, record) in concerned.enumerated() {
                if number >= Self.width { await group.next() }
                // The next agent compares with the records, and goes on.
                guard !Task.isCancelled else { break }
                group.addTask { await self.review(record) }
            }
        }
    }

    private func review(_ record: WorkloadRecord) async {
        // Of whom we know too little, everything stays as it is.
        guard let pod = PodRequest(record), let facts = cluster.known(pod.pod) else { return }
        let isEnrolled = record.labels?[WorkloadRecord.enrolled] != nil
        let policy = isEnrolled ? keeper.policy.enrolling : keeper.policy
        do throws(AgentRefusal) {
            let resolved = try policy.resolve(pod, record.plan.ownAddresses, knowing: facts)
            // What an operator has changed since by hand is not changed back.
            if record.labels?[WorkloadRecord.decision] != resolved.decision {
                try await change(record, to: resolved, pod)
            }
            unfinished[record.id] = nil
            refused[record.id] = nil
        } catch {
            note(error, record, pod)
        }
    }

    private func change(
        _ record: WorkloadRecord, to resolved: NodePolicy.Resolved, _ pod: PodRequest
    ) async throws(AgentRefusal) {
        let now = try await keeper.revise(record.id, to: resolved)
        logger.notice(
            "\(pod.name) follows what is said of it in the cluster now",
            metadata: [
                "workload": "\(record.id)", "mode": "\(resolved.mode)",
                "mechanism": "\(now.mechanism?.rawValue ?? "none")",
                "because": "\(resolved.reason ?? now.reason)",
            ])
        cluster.events.tell(of: now, pod.pod)
    }

    private func note(_ refusal: AgentRefusal, _ record: WorkloadRecord, _ pod: PodRequest) {
        // Its DEL came first, or is to come.
        guard refusal.status != 404, !pod.isGone else {
            unfinished[record.id] = nil
            return
        }
        if refusal.error.retryable {
            let first = Backoff(first: cluster.access.retry, longest: .seconds(300))
            var backoff = unfinished[record.id]?.backoff ?? first
            let due = ContinuousClock.now + backoff.fail()
            unfinished[record.id] = Later(backoff: backoff, due: due)
        } else {
            unfinished[record.id] = nil
        }
        guard refused.updateValue(refusal, forKey: record.id) != refusal else { return }
        logger.error(
            "\(pod.name) stays as it is: \(refusal.error.message)",
            metadata: ["workload": "\(record.id)"])
        cluster.events.tell(of: refusal, pod.pod)
    }
}

extension WorkloadRecord {
    /// The label that says what was decided last from what the cluster says.
    static let decision = "decision"
    /// The label of those that have run without redirection before.
    static let late = "late"
    /// The label of those whose plugin tells of the mesh's pods alone.
    static let enrolled = "enrolled"

    fileprivate var podName: ClusterView.PodName? {
        // Pods of the CNI plugin's alone: what operators name is theirs.
        guard let labels, labels["container"] != nil, let namespace = labels["namespace"],
            let name = labels["name"]
        else { return nil }
        return .init(namespace: namespace, name: name)
    }
}

extension PodRequest {
    /// The pod as its plugin told of it; `nil` if no plugin did.
    fileprivate init?(_ record: WorkloadRecord) {
        guard let labels = record.labels, let container = labels["container"],
            let interface = labels["interface"], let network = labels["network"]
        else { return nil }
        self.init(
            attachment: Attachment(container: container, interface: interface), network: network)
        namespacePath = record.place.namespace
        pod = PodIdentity(
            namespace: labels["namespace"], name: labels["name"], uid: labels["uid"])
    }
}
