// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import KubernetesClient
internal import Synchronization

/// The node's pods and the cluster's namespaces, as they were last heard of, and for which of them
/// what is said has changed since somebody looked.
final class ClusterView: Sendable {
    struct PodName: Hashable, Sendable {
        let namespace: String
        let name: String
    }

    /// Whose records are to be looked at.
    struct Changes: Sendable {
        var everything = false
        var pods: Set<PodName> = []
        var namespaces: Set<String> = []

        var isEmpty: Bool { !everything && pods.isEmpty && namespaces.isEmpty }

        func concern(_ pod: PodName) -> Bool {
            everything || pods.contains(pod) || namespaces.contains(pod.namespace)
        }
    }

    struct Counts: Hashable, Sendable {
        let pods: Int
        let namespaces: Int
    }

    private struct State {
        var pods: [PodName: KubernetesObject] = [:]
        var namespaces: [String: KubernetesObject] = [:]
        var changes = Changes()
    }

    private let state = Mutex(State())

    var counts: Counts {
        state.withLock { Counts(pods: $0.pods.count, namespaces: $0.namespaces.count) }
    }

    func pod(_ name: PodName) -> KubernetesObject? { state.withLock { $0.pods[name] } }

    func namespace(_ name: String) -> KubernetesObject? {
        state.withLock { $0.namespaces[name] }
    }

    /// What has changed since this was last asked.
    func takeChanges() -> Changes {
        state.withLock { state in
            defer { state.changes = Changes() }
            return state.changes
        }
    }

    /// Has somebody look at a pod once more.
    func touch(_ pod: PodName) { state.withLock { _ = $0.changes.pods.insert(pod) } }

    func takePods(_ change: KubernetesChange) {
        state.withLock { state in
            switch change {
            case .replaced(let objects):
                state.pods = [:]
                for object in objects { state.pods[object.podName] = object }
                state.changes.everything = true
            case .set(let object):
                let before = state.pods.updateValue(object, forKey: object.podName)
                // Its status changes all the time.
                guard !object.saysTheSame(as: before) else { return }
                state.changes.pods.insert(object.podName)
            case .deleted(let object):
                // CNI's DEL ends what is done for it; a later pod of its name may have come first.
                guard state.pods[object.podName]?.uid == object.uid else { return }
                state.pods[object.podName] = nil
            }
        }
    }

    func takeNamespaces(_ change: KubernetesChange) {
        state.withLock { state in
            switch change {
            case .replaced(let objects):
                state.namespaces = [:]
                for object in objects { state.namespaces[object.name] = object }
                state.changes.everything = true
            case .set(let object):
                let before = state.namespaces.updateValue(object, forKey: object.name)
                guard !object.saysTheSame(as: before) else { return }
                state.changes.namespaces.insert(object.name)
            case .deleted(let object): state.namespaces[object.name] = nil
            }
        }
    }
}

extension KubernetesObject {
    var podName: ClusterView.PodName { .init(namespace: namespace ?? "", name: name) }
}
