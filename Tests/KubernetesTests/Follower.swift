// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import KubernetesClient
import KubernetesTestSupport
import Logging
import Synchronization
import Testing

/// Somebody who is told of a resource, and knows what there is.
final class Follower: Sendable {
    private let objects = Mutex<[String: KubernetesObject]>([:])
    let reflector: Reflector

    init(_ reflector: Reflector) { self.reflector = reflector }

    func object(_ name: String) -> KubernetesObject? { objects.withLock { $0[name] } }
    var names: [String] { objects.withLock { $0.keys.sorted() } }

    private func take(_ change: KubernetesChange) {
        objects.withLock { known in
            switch change {
            case .replaced(let objects):
                known = Dictionary(uniqueKeysWithValues: objects.map { ($0.name, $0) })
            case .set(let object): known[object.name] = object
            case .deleted(let object): known[object.name] = nil
            }
        }
    }

    /// Limits that a test has the time for.
    static var limits: KubernetesClient.Limits {
        var limits = KubernetesClient.Limits()
        limits.page = 2
        limits.eventBytes = 1 << 20
        limits.answer = .seconds(20)
        return limits
    }

    /// Runs `body` while somebody follows the pods of node-1.
    static func with(
        _ server: APIServer, limits: KubernetesClient.Limits = limits,
        _ body: (Follower) async throws -> Void
    ) async throws {
        let client = KubernetesClient(server, limits: limits)
        let follower = Follower(
            Reflector(
                .pods(on: "node-1"), client,
                backoff: Backoff(first: .milliseconds(10), longest: .milliseconds(50)),
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }))
        let run = Task { await follower.reflector.run { follower.take($0) } }
        let result: Result<Void, any Error>
        do { result = .success(try await body(follower)) } catch { result = .failure(error) }
        run.cancel()
        await run.value
        await client.shutDown()
        try result.get()
    }

    /// Runs `body` beside a server that has two pods, once these are known.
    static func withServer(
        limits: KubernetesClient.Limits = limits,
        _ body: (Follower, TestAPIServer, TestAuthority) async throws -> Void
    ) async throws {
        let authority = try TestAuthority()
        let server = try await TestAPIServer.start(authority)
        server.setPod("web", in: "shop", uid: "1")
        server.setPod("db", in: "shop", uid: "2")
        try await with(try APIServer(to: server, authority), limits: limits) { follower in
            try await waitUntil { follower.names == ["db", "web"] }
            try await body(follower, server, authority)
        }
        await server.stop()
    }
}

extension APIServer {
    init(to server: TestAPIServer, _ authority: TestAuthority) throws(KubernetesError) {
        try self.init(
            url: server.url, tokenFile: authority.tokenFile,
            authorityFile: authority.authorityFile)
    }
}
