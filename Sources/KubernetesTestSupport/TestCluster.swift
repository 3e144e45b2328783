// SPDX-License-Identifier: Apache-2.0

internal import OrderedJSON
internal import Synchronization

/// What a cluster has, and all that has ever happened in it, as an API server tells of it.
final class TestCluster: Sendable {
    struct Change: Sendable {
        let version: Int
        let type: String
        let resource: String
        let node: String?
        let object: JSON
    }

    private struct State {
        /// By the resource, then by `namespace/name`.
        var objects: [String: [String: Change]] = [:]
        var history: [Change] = []
        var version = 100
        /// What is older is forgotten.
        var horizon = 0
    }

    private let state = Mutex(State())

    var version: Int { state.withLock(\.version) }

    func set(_ resource: String, _ key: String, _ object: JSON, node: String?) {
        state.withLock { state in
            state.version += 1
            let known = state.objects[resource]?[key]
            let metadata = object["metadata"]?.setting(
                "resourceVersion", to: .string("\(state.version)"))
            let change = Change(
                version: state.version, type: known == nil ? "ADDED" : "MODIFIED",
                resource: resource, node: node, object: object.setting("metadata", to: metadata))
            state.objects[resource, default: [:]][key] = change
            state.history.append(change)
        }
    }

    func remove(_ resource: String, _ key: String) {
        state.withLock { state in
            guard let known = state.objects[resource]?.removeValue(forKey: key) else { return }
            state.version += 1
            let metadata = known.object["metadata"]?.setting(
                "resourceVersion", to: .string("\(state.version)"))
            state.history.append(
                Change(
                    version: state.version, type: "DELETED", resource: resource, node: known.node,
                    object: known.object.setting("metadata", to: metadata)))
        }
    }

    func object(_ resource: String, _ key: String) -> JSON? {
        state.withLock { $0.objects[resource]?[key]?.object }
    }

    /// Those of a node, in the order of their names, and the version they are of.
    func list(_ resource: String, node: String?) -> (objects: [JSON], version: Int) {
        state.withLock { state in
            let all = (state.objects[resource] ?? [:]).sorted { $0.key < $1.key }.map(\.value)
            return (all.filter { node == nil || $0.node == node }.map(\.object), state.version)
        }
    }

    /// What has happened after a version; `nil` if that is forgotten.
    func changes(_ resource: String, node: String?, after version: Int) -> [Change]? {
        state.withLock { state in
            guard version >= state.horizon else { return nil }
            return state.history.filter {
                $0.version > version && $0.resource == resource && (node == nil || $0.node == node)
            }
        }
    }

    func forgetHistory() {
        state.withLock { state in
            state.version += 1
            state.horizon = state.version
            state.history = []
        }
    }
}
