// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import CNIPlugin
internal import LinuxKernel
internal import Logging
internal import OrderedJSON
internal import RedirectionEngine

/// Pods of the mesh of which nobody has told us: found, redirected from then on, and told of.
///
/// A runtime starts pods without us while the node's network configuration has no entry of ours, as after
/// a boot at which the cluster's network has written it anew. What its CNI library remembers says which
/// pods those are (docs/adr/0025).
actor MissedPods {
    /// What a runtime calls the interface of a pod's own network.
    private static let interface = "eth0"

    private let directory: Directory
    private let keeper: PodKeeper
    private let cluster: Cluster
    private let logger: Logger
    /// The pods that were added without us, by the names of their files.
    private var pods: [String: PodRequest] = [:]
    /// The files, which are written once, that need no look any more.
    private var done: Set<String> = []
    /// What is wrong with which file, or has been told of which pod.
    private var problems: [String: String] = [:]

    /// `nil` on a node of no cluster: nobody else says which pods are ours.
    init?(_ directory: Directory, _ keeper: PodKeeper, _ logger: Logger) {
        guard let cluster = keeper.cluster else { return nil }
        self.directory = directory
        self.keeper = keeper
        self.cluster = cluster
        self.logger = logger
    }

    /// Takes in those that can be by now, and counts the others.
    func takeIn() async {
        let names = directory.names()
        done.formIntersection(names)
        pods = pods.filter { names.contains($0.key) }
        problems = problems.filter { names.contains($0.key) }
        for name in names where pods[name] == nil && !done.contains(name) { read(name) }
        var missed: [String: PodRequest] = [:]
        for (name, told) in pods { missed[name] = await found(name, told) }
        keeper.metrics.noteMissed(Set(missed.keys))
        for (name, pod) in missed where !Task.isCancelled {
            if await isDone(name, pod) { missed[name] = nil }
        }
        keeper.metrics.noteMissed(Set(missed.keys))
    }

    /// Reads a file that has not been read.
    private func read(_ name: String) {
        do {
            guard let text = try directory.read(name) else { return }
            let attachment = try CachedAttachment(JSON(parsing: text))
            let isMissed =
                attachment.pod.attachment.interface == Self.interface
                && !attachment.plugins.contains(PluginConfiguration.type)
            if isMissed { pods[name] = attachment.pod } else { done.insert(name) }
            problems[name] = nil
        } catch {
            // It may be being written: once more, then.
            let problem = (error as? FieldError)?.message ?? "\(error)"
            if problems.updateValue(problem, forKey: name) == problem {
                logger.warning("\(directory.path)/\(name) is not understood: \(problem)")
                done.insert(name)
            }
        }
    }

    /// The pod, in its namespace, if it is there and to be redirected.
    private func found(_ name: String, _ told: PodRequest) async -> PodRequest? {
        if (try? await keeper.engine.record(of: told.id)) != nil {
            settle(name)
            return nil
        }
        guard let facts = cluster.known(told.pod) else { return nil }
        var pod = told
        if pod.namespacePath == nil {
            pod.namespacePath = keeper.cgroups?.ofPod(pod.pod.uid)?
                .namespace(ofContainer: pod.attachment.container)
        }
        // Who cannot be understood is refused like everybody else.
        let isWanted = (try? keeper.redirects(pod, knowing: facts)) ?? true
        return isWanted && !pod.isGone ? pod : nil
    }

    /// Whether nothing has to be done for a pod any more.
    private func isDone(_ name: String, _ pod: PodRequest) async -> Bool {
        do throws(AgentRefusal) {
            let record = try await keeper.addMissed(pod) { directory.names().contains(name) }
            if let record { tell(record, pod) }
            settle(name)
            return true
        } catch {
            guard !pod.isGone else { return true }
            tell(error, pod, name)
            return false
        }
    }

    /// Once it has been on record a pod is like any other: who removes it means it.
    private func settle(_ name: String) {
        pods[name] = nil
        done.insert(name)
    }

    private func tell(_ record: WorkloadRecord, _ pod: PodRequest) {
        logger.warning(
            "\(pod.name) was started without redirection, by a network that did not call us, and is redirected from now on",
            metadata: [
                "workload": "\(record.id)", "mechanism": "\(record.mechanism?.rawValue ?? "none")",
            ])
        cluster.events.tell(ofMissed: record, pod.pod)
    }

    private func tell(_ refusal: AgentRefusal, _ pod: PodRequest, _ name: String) {
        let problem = refusal.error.message
        guard problems.updateValue(problem, forKey: name) != problem else { return }
        logger.error("\(pod.name) runs WITHOUT redirection: \(problem)")
        cluster.events.tell(of: refusal, pod.pod)
    }
}
