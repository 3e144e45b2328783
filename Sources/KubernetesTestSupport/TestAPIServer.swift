// SPDX-License-Identifier: Apache-2.0

internal import KernelTestSupport
internal import NIOCore
package import OrderedJSON
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#endif

/// An API server on loopback, behind TLS: lists in pages, watches, forgets, and fails as it is told.
package final class TestAPIServer: Sendable {
    /// What a watch does in the place of going on.
    package enum Fault: Hashable, Sendable {
        /// An answer of this status to the next list or watch; one that goes on ends.
        case status(Int)
        /// An event that says the same.
        case error(Int)
        case garbage
        /// The connection ends within an event.
        case half
        /// Nothing more comes, and no end.
        case silence
        /// An event without an end.
        case flood
        /// A pod `slow` appears, a few bytes at a time; then the watch ends.
        case slow
    }

    /// Where an answer stops, without an end.
    package enum Stall: Hashable, Sendable {
        case beforeHead
        case afterHead
    }

    /// A request that has come.
    package struct Seen: Hashable, Sendable {
        package let method: String
        package let path: String
        package let query: [String: String]
        package let accept: String
        package let token: String

        package var isWatch: Bool { query["watch"] == "true" }
        /// Whether it asks for one object by its name.
        package var isOfObject: Bool {
            method == "GET" && [4, 6].contains(path.split(separator: "/").count)
        }
    }

    private struct State {
        var tokens: Set<String>
        var faults: [String: [Fault]] = [:]
        var seen: [Seen] = []
        var events: [JSON] = []
        var bookmarks = 0
        var stall: Stall?
    }

    package var url: String { "https://127.0.0.1:\(port)" }
    let cluster: TestCluster
    private let state: Mutex<State>
    private let listener = Mutex<TLSListener?>(nil)

    private var port: Int { listener.withLock { $0?.port ?? 0 } }

    /// Starts a server; one in the place of `earlier` has its address and its cluster.
    package static func start(
        _ authority: TestAuthority, after earlier: TestAPIServer? = nil, token: String = "first"
    ) async throws -> TestAPIServer {
        let server = TestAPIServer(cluster: earlier?.cluster ?? TestCluster(), token)
        try await waitUntil {
            do {
                let listener = try await TLSListener.start(authority, port: earlier?.port ?? 0) {
                    [weak server] request, answer in try await server?.answer(request, answer)
                }
                server.listener.withLock { $0 = listener }
                return true
            } catch let error as IOError where error.errnoCode == EADDRINUSE && earlier != nil {
                // A process that is being born has the earlier one's socket until it is a program.
                return false
            }
        }
        return server
    }

    private init(cluster: TestCluster, _ token: String) {
        self.cluster = cluster
        state = Mutex(State(tokens: [token]))
    }

    /// Closes everything, as a server that is killed.
    package func stop() async { await listener.withLock(\.self)?.stop() }

    // MARK: What there is

    package func setPod(
        _ name: String, in namespace: String, uid: String, node: String = "node-1",
        labels: [String: String] = [:], annotations: [String: String] = [:]
    ) {
        let object = JSON(members: [
            "apiVersion": .string("v1"), "kind": .string("Pod"),
            "metadata": Self.metadata(name, namespace, uid, labels, annotations),
            "spec": JSON(members: ["nodeName": .string(node)]),
        ])
        cluster.set("pods", "\(namespace)/\(name)", object, node: node)
    }

    package func removePod(_ name: String, in namespace: String) {
        cluster.remove("pods", "\(namespace)/\(name)")
    }

    package func setNamespace(
        _ name: String, labels: [String: String] = [:], annotations: [String: String] = [:]
    ) {
        let object = JSON(members: [
            "apiVersion": .string("v1"), "kind": .string("Namespace"),
            "metadata": Self.metadata(name, nil, "ns-" + name, labels, annotations),
        ])
        cluster.set("namespaces", name, object, node: nil)
    }

    private static func metadata(
        _ name: String, _ namespace: String?, _ uid: String, _ labels: [String: String],
        _ annotations: [String: String]
    ) -> JSON {
        func object(_ words: [String: String]) -> JSON {
            .object(words.sorted { $0.key < $1.key }.map { .init($0, .string($1)) })
        }
        return JSON(members: [
            "name": .string(name), "namespace": namespace.map(JSON.string), "uid": .string(uid),
            "labels": labels.isEmpty ? nil : object(labels),
            "annotations": annotations.isEmpty ? nil : object(annotations),
        ])
    }

    // MARK: How it behaves

    /// Forgets what has happened so far: who watches from before is told that it is gone.
    package func forgetHistory() { cluster.forgetHistory() }

    /// Sends a bookmark to everybody who watches.
    package func bookmark() { state.withLock { $0.bookmarks += 1 } }

    package func fail(_ resource: String, _ faults: Fault...) {
        state.withLock { $0.faults[resource, default: []] += faults }
    }

    /// Stops in the middle of whatever is said of one object; lists and watches go on.
    package func stallObjects(_ stall: Stall?) { state.withLock { $0.stall = stall } }

    /// Takes this token and no other.
    package func accept(token: String) { state.withLock { $0.tokens = [token] } }

    package var seen: [Seen] { state.withLock(\.seen) }

    /// Events that have been created.
    package var events: [JSON] { state.withLock(\.events) }

    // MARK: Answering

    func note(_ request: Seen) -> Bool {
        state.withLock { state in
            state.seen.append(request)
            return state.tokens.contains(request.token)
        }
    }

    func noteEvent(_ event: JSON) { state.withLock { $0.events.append(event) } }

    /// The next fault of a resource's; one that is a status is left for the next request.
    func fault(_ resource: String, inWatch: Bool) -> Fault? {
        state.withLock { state in
            guard let fault = state.faults[resource]?.first else { return nil }
            if case .status = fault {
                if inWatch { return fault }
            } else if !inWatch {
                return nil
            }
            state.faults[resource]?.removeFirst()
            return fault
        }
    }

    var stall: Stall? { state.withLock(\.stall) }

    var bookmarks: Int { state.withLock(\.bookmarks) }
}
