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
    /// The plugins that tell us of pods: ours, and Flomesh's.
    private static let messengers: Set = [PluginConfiguration.type, "fsm-cni"]

    private struct Missed {
        let pod: PodRequest
        let facts: PodFacts
        /// What it takes for us, if that is known, to be in its namespace.
        let isReachable: Bool
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
    private let logger: Logger
    private var files: AttachmentFiles
    /// Those that have been on record: from then on they are like any other, and who removes one means it.
    private var settled: Set<String> = []
    private var refusals: [String: Refusal] = [:]
    /// What has been told last of pods of which too little is known, and of the directory.
    private var undecided = 0
    private var complaint: String?

    /// `nil` on a node of no cluster: nobody else says which pods are ours.
    init?(_ directory: Directory, _ keeper: PodKeeper, _ logger: Logger) {
        guard let cluster = keeper.cluster else { return nil }
        files = AttachmentFiles(directory)
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
        keeper.metrics.noteMissed(Set(missed.keys))
        for (name, pod) in missed.sorted(by: { $0.key < $1.key }) where !Task.isCancelled {
            if await takeIn(pod, name) { missed[name] = nil }
        }
        keeper.metrics.noteMissed(Set(missed.keys))
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
            guard records[attachment.pod.id] == nil else {
                settled.insert(name)
                continue
            }
            // Who is redirected under another name is, and who is gone need not be.
            guard let (pod, namespace) = locate(attachment.pod),
                namespace.map({ !taken.contains($0.inode) }) ?? true
            else { continue }
            guard let facts = facts(of: pod) else {
                undecided += 1
                continue
            }
            // Who cannot be understood is refused like everybody else.
            if (try? keeper.redirects(pod, knowing: facts)) ?? true {
                missed[name] = Missed(pod: pod, facts: facts, isReachable: namespace != nil)
            }
        }
        tell(undecided: undecided)
        return missed
    }

    private func isOfInterest(_ name: String, _ attachment: CachedAttachment) -> Bool {
        attachment.pod.attachment.interface == Self.interface && !settled.contains(name)
            && Self.messengers.isDisjoint(with: attachment.plugins)
    }

    /// The pod and its namespace; without one if it is there and its namespace is not found, and `nil`
    /// if it is gone.
    private func locate(_ told: PodRequest) -> (PodRequest, NetworkNamespace?)? {
        var pod = told
        // A process of that number may be anybody's by now.
        if let path = told.namespacePath, !path.hasPrefix("/proc/") {
            do throws(KernelError) {
                return (pod, try NetworkNamespace.open(path))
            } catch { return error.saysGone ? nil : (pod, nil) }
        }
        guard let cgroup = keeper.cgroups?.ofPod(told.pod.uid) else { return nil }
        guard let found = cgroup.namespace(ofContainer: told.attachment.container) else {
            // It may be another sandbox of this pod that lives there, which has a record then.
            let isAlone = !keeper.engine.list().records.contains {
                $0.labels?["uid"] == told.pod.uid
            }
            return isAlone && (try? cgroup.isPopulated()) == true ? (pod, nil) : nil
        }
        pod.namespacePath = found.path
        return (pod, found.namespace)
    }

    /// What is known of the pod, if that is enough; its own word is, where nobody can be asked.
    private func facts(of pod: PodRequest) -> PodFacts? {
        if let facts = cluster.known(pod.pod) { return facts }
        let dependsOnMore = (try? keeper.policy.depends(pod, on: PodFacts())) ?? false
        return dependsOnMore ? nil : PodFacts()
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
        if let last = refusals[name], last.facts == missed.facts, last.due > .now { return false }
        let pod = missed.pod
        do throws(AgentRefusal) {
            guard missed.isReachable else { throw refuseUnreachable(pod) }
            guard let answer = try await keeper.addMissed(pod, isThere: { files.remembers(name) })
            else { return true }
            settled.insert(name)
            if answer.redirected { tell(answer, pod) }
            return true
        } catch {
            if missed.isReachable, pod.isGone { return true }
            refuse(error, missed, name)
            return false
        }
    }

    private func refuseUnreachable(_ pod: PodRequest) -> AgentRefusal {
        let refusal = AgentRefusal(
            503,
            AgentError(
                "\(pod.name) was started without us, and its network namespace cannot be opened",
                remedy: "restart it", retryable: true))
        cluster.events.tell(of: refusal, pod.pod)
        return refusal
    }

    private func refuse(_ refusal: AgentRefusal, _ missed: Missed, _ name: String) {
        let message = refusal.error.message
        let last = refusals[name]
        let first = Backoff(first: cluster.access.retry, longest: .seconds(300))
        var backoff = last?.facts == missed.facts ? last?.backoff ?? first : first
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
