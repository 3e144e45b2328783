// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
package import KubernetesClient
internal import Logging
internal import OrderedJSON

/// How the agent is to know the cluster.
package struct ClusterAccess: Sendable {
    package let server: APIServer
    /// The node's own name: whose pods are watched.
    package let node: String
    package var limits = KubernetesClient.Limits()
    package var backoff = Backoff()
    /// How long a pod that starts may wait for what only the API server knows.
    package var patience = Duration.seconds(5)
    /// How long until what could not be done for the moment is tried again.
    package var retry = Duration.seconds(5)

    package init(server: APIServer, node: String) {
        self.server = server
        self.node = node
    }
}

/// The cluster that the node is part of: what is known of it, and how it is told of our doings.
///
/// Whoever looks after a pod that is known waits for nobody here (docs/adr/0022).
final class Cluster: Sendable {
    let access: ClusterAccess
    let view = ClusterView()
    let pods: Reflector
    let namespaces: Reflector
    let events: PodEvents
    let logger: Logger
    private let client: KubernetesClient
    private let wakes: AsyncStream<Void>
    private let waker: AsyncStream<Void>.Continuation

    init(_ access: ClusterAccess, _ logger: Logger) {
        self.access = access
        self.logger = logger
        client = KubernetesClient(access.server, limits: access.limits)
        pods = Reflector(
            .pods(on: access.node), client, backoff: access.backoff, logger: logger)
        namespaces = Reflector(.namespaces, client, backoff: access.backoff, logger: logger)
        events = PodEvents(client, node: access.node, logger)
        (wakes, waker) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// Follows the cluster, and has the node's pods follow it, until its task is canceled.
    func run(_ keeper: PodKeeper) async {
        logger.notice(
            "watching the pods of \(access.node) and the namespaces",
            metadata: ["server": "\(access.server.url)"])
        let review = PodReview(keeper: keeper, cluster: self, logger: logger)
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                await self.pods.run {
                    self.view.takePods($0)
                    self.waker.yield()
                }
            }
            group.addTask {
                await self.namespaces.run {
                    self.view.takeNamespaces($0)
                    self.waker.yield()
                }
            }
            group.addTask { await self.events.run() }
            group.addTask {
                while !Task.isCancelled {
                    try? await Task.sleep(for: self.access.retry)
                    self.waker.yield()
                }
            }
            group.addTask { for await _ in self.wakes { await review.run() } }
        }
    }

    func shutDown() async { await client.shutDown() }

    /// Has a pod looked at that has just been added: it may have changed meanwhile.
    func lookAgain(_ pod: PodIdentity) {
        guard let namespace = pod.namespace, let name = pod.name else { return }
        view.touch(.init(namespace: namespace, name: name))
        waker.yield()
    }

    /// What is known of a pod on record, which nobody waits for; `nil` while something is not known.
    func known(_ pod: PodIdentity) -> PodFacts? {
        guard let namespace = pod.namespace, let name = pod.name,
            let object = view.pod(.init(namespace: namespace, name: name)),
            object.isPod(called: pod.uid), let around = view.namespace(namespace)
        else { return nil }
        return PodFacts(pod: object, namespace: around)
    }

    /// What is to be known of a pod that starts; the server is asked for what nobody has told us, if
    /// the pod `depends` on it.
    func facts(
        of pod: PodRequest, ifNeeded depends: (PodFacts) throws(AgentRefusal) -> Bool
    ) async throws(AgentRefusal) -> PodFacts {
        guard let namespace = pod.pod.namespace, let name = pod.pod.name else { return PodFacts() }
        let object = view.pod(.init(namespace: namespace, name: name))
        var facts = PodFacts(
            pod: object?.isPod(called: pod.pod.uid) == true ? object : nil,
            namespace: view.namespace(namespace))
        guard facts.pod == nil || facts.namespace == nil, try depends(facts) else { return facts }
        // At once, so that one after the other does not take twice the time.
        let known = facts
        async let around = asked(namespace, in: nil, unless: known.namespace)
        async let itself = asked(name, in: namespace, unless: known.pod)
        do throws(KubernetesError) {
            facts.namespace = try await around.get()
            let found = try await itself.get()
            facts.pod = found?.isPod(called: pod.pod.uid) == true ? found : nil
        } catch {
            throw Self.refusal(pod, "\(error)", "see swerved's log and whether its node may ask")
        }
        // Without its namespace every pod would look like nobody's.
        guard facts.namespace != nil else {
            throw Self.refusal(
                pod, "the API server knows no namespace \(namespace)", "its retry is asked about")
        }
        // A static pod's mirror comes after the pod.
        guard facts.pod != nil || pod.pod.isStatic else {
            throw Self.refusal(pod, "the API server knows no such pod", "its retry is asked about")
        }
        return facts
    }

    /// An object as it is known, or else as the server says.
    private func asked(
        _ name: String, in namespace: String?, unless known: KubernetesObject?
    ) async -> Result<KubernetesObject?, KubernetesError> {
        if let known { return .success(known) }
        do throws(KubernetesError) {
            return .success(
                try await client.object(name, in: namespace, within: access.patience))
        } catch { return .failure(error) }
    }

    private static func refusal(
        _ pod: PodRequest, _ reason: String, _ remedy: String
    ) -> AgentRefusal {
        AgentRefusal(
            503,
            AgentError(
                "whether \(pod.name) is the mesh's is not known: \(reason)",
                remedy: remedy + "; swerve.dev/mode on the pod says it without the API server",
                retryable: true))
    }
}
