// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import CNIPlugin
internal import KubernetesClient
internal import LinuxKernel
internal import Logging
internal import RedirectionEngine
internal import RedirectionModel

/// Pods of the mesh of which nobody has told us: found, redirected from then on, and told of.
///
/// A runtime starts pods without us while the node's network configuration has no entry of ours, as after
/// a boot at which the cluster's network has written it anew. What its CNI library remembers says which
/// pods those are (docs/adr/0025).
actor MissedPods {
    /// What a runtime calls the interface of a pod's own network.
    private static let interface = "eth0"

    private struct Missed {
        let pod: PodRequest
        let facts: PodFacts
        /// Why its namespace cannot be entered.
        var obstacle: String?
    }

    /// Why a pod could not be taken in, and when that is tried again if nothing else is said of it.
    private struct Refusal {
        let facts: PodFacts
        let message: String
        var backoff: Backoff
        let due: ContinuousClock.Instant
    }

    private let keeper: PodKeeper
    private let cluster: Cluster
    /// The plugins that tell us of pods.
    private let messengers: Set<String>
    private let logger: Logger
    private var files: AttachmentFiles
    /// Those that have been on record: from then on they are like any other, and who removes one means it.
    private var settled: Set<String> = []
    private var refusals: [String: Refusal] = [:]
    /// What has been told last of pods of which too little is known, and of the directory.
    private var undecided = 0
    private var complaint: String?

    /// `nil` on a node of no cluster: nobody else says which pods are ours.
    init?(
        _ directory: Directory, toldOfBy messengers: Set<String>, _ keeper: PodKeeper,
        _ logger: Logger
    ) {
        guard let cluster = keeper.cluster else { return nil }
        files = AttachmentFiles(directory)
        self.messengers = messengers
        self.keeper = keeper
        self.cluster = cluster
        self.logger = logger
    }

    /// Takes in those that can be by now, and counts the others.
    func takeIn() async {
        let records = await keeper.engine.identities()
        guard let attachments = read(besides: records) else { return }
        settled.formIntersection(attachments.keys)
        refusals = refusals.filter { attachments[$0.key] != nil }
        var missed = findMissed(among: attachments, records)
        keeper.metrics.noteMissed(Set(missed.keys), undecided: undecided)
        for (name, pod) in missed.sorted(by: { $0.key < $1.key }) where !Task.isCancelled {
            if await takeIn(pod, name) { missed[name] = nil }
        }
        keeper.metrics.noteMissed(Set(missed.keys), undecided: undecided)
    }

    private func read(
        besides records: [Workload.ID: WorkloadIdentity]
    ) -> [String: CachedAttachment]? {
        let directory = files.directory.path
        do throws(KernelError) {
            let attachments = try files.read(logger)
            let isElsewhere = attachments.isEmpty && records.keys.contains { $0.contains("@") }
            complain(isElsewhere ? "\(directory) has no file of the pods that there are" : nil)
            return attachments
        } catch {
            complain("\(error)")
            return nil
        }
    }

    /// Says once why nobody can be found.
    private func complain(_ reason: String?) {
        defer { complaint = reason }
        guard let reason, reason != complaint else { return }
        logger.warning(
            "pods that are started without us are not found (--cni-cache-dir): \(reason)")
    }

    // MARK: Who it is

    private func findMissed(
        among attachments: [String: CachedAttachment], _ records: [Workload.ID: WorkloadIdentity]
    ) -> [String: Missed] {
        let taken = Set(records.values.filter { $0.cgroupInode == nil }.map(\.namespaceInode))
        var missed: [String: Missed] = [:]
        var undecided = 0
        for (name, attachment) in attachments where isOfInterest(name, attachment) {
            let pod = attachment.pod
            guard records[pod.id] == nil else {
                settled.insert(name)
                continue
            }
            let facts = facts(of: pod)
            // Who cannot be understood is refused like everybody else.
            guard facts.map({ (try? keeper.redirects(pod, knowing: $0)) ?? true }) ?? true,
                let found = locate(pod, besides: taken)
            else { continue }
            if let facts {
                missed[name] = Missed(pod: found.pod, facts: facts, obstacle: found.obstacle)
            } else {
                undecided += 1
            }
        }
        tell(undecided: undecided)
        return withoutOlderSandboxes(missed)
    }

    private func isOfInterest(_ name: String, _ attachment: CachedAttachment) -> Bool {
        attachment.pod.attachment.interface == Self.interface && !settled.contains(name)
            && messengers.isDisjoint(with: attachment.plugins)
    }

    /// What is known of the pod, if that is enough; its own word is, where nobody can be asked.
    private func facts(of pod: PodRequest) -> PodFacts? {
        if let facts = cluster.known(pod.pod) { return facts }
        let dependsOnMore = (try? keeper.policy.depends(pod, on: PodFacts())) ?? false
        return dependsOnMore ? nil : PodFacts()
    }

    /// The pod, in a namespace that is there and that nobody has redirected under another name; `nil` if
    /// there is none.
    private func locate(
        _ told: PodRequest, besides taken: Set<UInt64>
    ) -> (pod: PodRequest, obstacle: String?)? {
        var pod = told
        do throws(KernelError) {
            let namespace: NetworkNamespace
            // A process of that number may be anybody's by now.
            if let path = told.namespacePath, !path.hasPrefix("/proc/") {
                namespace = try NetworkNamespace.open(path)
            } else {
                guard let cgroup = keeper.cgroups?.ofPod(told.pod.uid) else { return nil }
                guard let found = try cgroup.namespace(ofContainer: told.attachment.container)
                else {
                    let obstacle = "no process in \(cgroup.path) is known as its sandbox's"
                    return try cgroup.isPopulated() ? (pod, obstacle) : nil
                }
                pod.namespacePath = found.path
                namespace = found.namespace
            }
            return taken.contains(namespace.inode) ? nil : (pod, nil)
        } catch { return error.saysGone ? nil : (pod, "\(error)") }
    }

    /// A sandbox that is not found may be an older one of a pod that has another by now.
    private func withoutOlderSandboxes(_ missed: [String: Missed]) -> [String: Missed] {
        guard missed.values.contains(where: { $0.obstacle != nil }) else { return missed }
        let known = keeper.engine.list().records.compactMap { $0.labels?["uid"] }
        let found = missed.values.filter { $0.obstacle == nil }.compactMap(\.pod.pod.uid)
        let others = Set(known + found)
        return missed.filter { entry in
            entry.value.obstacle == nil
                || !(entry.value.pod.pod.uid.map(others.contains) ?? false)
        }
    }

    private func tell(undecided count: Int) {
        defer { undecided = count }
        guard count > 0, count != undecided else { return }
        logger.warning(
            "pods were started without us, and whether they are the mesh's is not known (yet)",
            metadata: ["pods": "\(count)"])
    }

    // MARK: What becomes of it

    /// Whether nothing has to be done for a pod any more.
    private func takeIn(_ missed: Missed, _ name: String) async -> Bool {
        if let last = refusals[name], last.facts.saysTheSame(as: missed.facts), last.due > .now {
            return false
        }
        let pod = missed.pod
        do throws(AgentRefusal) {
            if let obstacle = missed.obstacle { throw refuse(pod, obstacle) }
            // It may have gone while others were taken in.
            guard files.remembers(name),
                let answer = try await keeper.addMissed(pod, isThere: { files.remembers(name) })
            else { return true }
            settled.insert(name)
            if answer.redirected { tell(answer, pod) }
            return true
        } catch {
            if missed.obstacle == nil, pod.isGone { return true }
            note(error, missed, name)
            return false
        }
    }

    private func refuse(_ pod: PodRequest, _ obstacle: String) -> AgentRefusal {
        let refusal = AgentRefusal(
            503,
            AgentError(
                "\(pod.name) was started without us, and its network namespace is not found: "
                    + obstacle,
                remedy: "restart it, if that stays so", retryable: true))
        cluster.events.tell(of: refusal, pod.pod)
        return refusal
    }

    private func note(_ refusal: AgentRefusal, _ missed: Missed, _ name: String) {
        let message = refusal.error.message
        let last = refusals[name]
        var backoff = Backoff(first: cluster.access.retry, longest: .seconds(300))
        if let last, last.facts.saysTheSame(as: missed.facts) { backoff = last.backoff }
        let due = ContinuousClock.now + backoff.fail()
        refusals[name] = Refusal(
            facts: missed.facts, message: message, backoff: backoff, due: due)
        guard last?.message != message else { return }
        logger.error("\(missed.pod.name) runs WITHOUT redirection: \(message)")
    }

    private func tell(_ answer: PodAnswer, _ pod: PodRequest) {
        let mechanism = answer.mechanism ?? "none"
        logger.warning(
            "\(pod.name) was started without us, and is redirected from now on",
            metadata: ["workload": "\(pod.id)", "mechanism": "\(mechanism)"])
        cluster.events.tell(ofMissed: pod.pod, by: mechanism)
    }
}
