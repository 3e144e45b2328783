// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import KubernetesClient
import KubernetesTestSupport
import Testing

/// Whoever follows a resource knows what there is, whatever the server does.
@Suite(.timeLimit(.minutes(3))) struct ReflectorTests {
    @Test func `a list comes page by page, and a watch goes on from it`() async throws {
        let authority = try TestAuthority()
        let server = try await TestAPIServer.start(authority)
        for number in 1...5 {
            server.setPod(
                "web-\(number)", in: "shop", uid: "\(number)", labels: ["app": "web"],
                annotations: ["kubectl.kubernetes.io/last-applied-configuration": "{}"])
        }
        server.setPod("other", in: "shop", uid: "9", node: "node-2")
        try await Follower.with(try APIServer(to: server, authority)) { follower in
            try await waitUntil { follower.names.count == 5 }
            let lists = server.seen.filter { !$0.isWatch }
            #expect(lists.map { $0.query["continue"] } == [nil, "2", "4"])
            #expect(lists.allSatisfy { $0.query["limit"] == "2" })
            #expect(lists.allSatisfy { $0.query["fieldSelector"] == "spec.nodeName=node-1" })
            #expect(lists.allSatisfy { $0.accept.contains("as=PartialObjectMetadataList") })
            let web = try #require(follower.object("web-1"))
            #expect(web.namespace == "shop" && web.uid == "1" && web.labels == ["app": "web"])
            #expect(web.annotations.isEmpty)
            server.setPod("web-1", in: "shop", uid: "1", annotations: ["a": "b"])
            server.setPod("new", in: "shop", uid: "6")
            server.removePod("web-2", in: "shop")
            try await waitUntil {
                follower.names == ["new", "web-1", "web-3", "web-4", "web-5"]
            }
            #expect(follower.object("web-1")?.annotations == ["a": "b"])
            #expect(follower.object("web-1")?.labels == [:])
            let status = follower.reflector.status
            #expect(status.lists == 1 && status.failures == 0 && status.problem == nil)
            #expect(status.lastHeard != nil)
        }
        await server.stop()
    }

    @Test func `a bookmark is where the next watch begins`() async throws {
        try await Follower.withServer { follower, server, _ in
            try await waitUntil { server.seen.contains(where: \.isWatch) }
            let first = server.seen.last?.query["resourceVersion"]
            // What happens on other nodes moves the version, and tells us nothing.
            server.setPod("other", in: "shop", uid: "9", node: "node-2")
            let heard = follower.reflector.status.lastHeard
            server.bookmark()
            try await waitUntil { follower.reflector.status.lastHeard != heard }
            server.fail("pods", .half)
            try await waitUntil { server.seen.filter(\.isWatch).count == 2 }
            let second = server.seen.last?.query["resourceVersion"]
            #expect(Int(second ?? "") == (Int(first ?? "") ?? 0) + 1)
            #expect(server.seen.last?.query["allowWatchBookmarks"] == "true")
            #expect(follower.reflector.status.lists == 1)
        }
    }

    @Test(arguments: [
        (TestAPIServer.Fault.status(410), true), (.error(410), true), (.error(500), true),
        (.status(503), true), (.status(429), true), (.status(403), true), (.garbage, true),
        (.flood, true), (.half, false),
    ])
    func `what fails is begun anew, and nothing is missed`(
        _ fault: TestAPIServer.Fault, _ listsAgain: Bool
    ) async throws {
        try await Follower.withServer { follower, server, _ in
            server.fail("pods", fault)
            try await waitUntil { follower.reflector.status.failures > 0 }
            server.setPod("new", in: "shop", uid: "3")
            server.removePod("db", in: "shop")
            try await waitUntil { follower.names == ["new", "web"] }
            #expect((follower.reflector.status.lists > 1) == listsAgain)
            #expect(follower.reflector.status.problem == nil)
        }
    }

    @Test func `a server that says nothing more is left`() async throws {
        var limits = Follower.limits
        limits.silence = .seconds(2)
        try await Follower.withServer(limits: limits) { follower, server, _ in
            server.fail("pods", .silence)
            try await waitUntil { follower.reflector.status.failures > 0 }
            server.setPod("new", in: "shop", uid: "3")
            try await waitUntil { follower.names == ["db", "new", "web"] }
            #expect(follower.reflector.status.lists == 1)
        }
    }

    @Test func `an event that comes byte by byte is one event`() async throws {
        try await Follower.withServer { follower, server, _ in
            server.fail("pods", .slow)
            try await waitUntil { follower.names == ["db", "slow", "web"] }
            server.setPod("new", in: "shop", uid: "3")
            try await waitUntil { follower.names == ["db", "new", "slow", "web"] }
            #expect(follower.reflector.status.failures == 0)
        }
    }

    @Test func `a watch that has come to its end is no failure`() async throws {
        var limits = Follower.limits
        limits.watch = .seconds(1)
        try await Follower.withServer(limits: limits) { follower, server, _ in
            try await waitUntil { server.seen.filter(\.isWatch).count >= 3 }
            server.setPod("new", in: "shop", uid: "3")
            try await waitUntil { follower.names == ["db", "new", "web"] }
            #expect(follower.reflector.status.failures == 0)
            #expect(follower.reflector.status.lists == 1)
        }
    }

    @Test func `a version that the server has forgotten is listed again`() async throws {
        try await Follower.withServer { follower, server, authority in
            await server.stop()
            try await waitUntil { follower.reflector.status.problem != nil }
            server.removePod("db", in: "shop")
            server.forgetHistory()
            #expect(follower.names == ["db", "web"], "who is not told forgets nothing")
            let again = try await TestAPIServer.start(authority, after: server)
            try await waitUntil { follower.names == ["web"] }
            #expect(follower.reflector.status.lists == 2)
            await again.stop()
        }
    }

    @Test func `a list that is too old to go on with is begun anew`() async throws {
        let authority = try TestAuthority()
        let server = try await TestAPIServer.start(authority)
        for number in 1...3 { server.setPod("web-\(number)", in: "shop", uid: "\(number)") }
        server.fail("pods", .status(410), .status(500))
        try await Follower.with(try APIServer(to: server, authority)) { follower in
            try await waitUntil { follower.names.count == 3 }
            #expect(follower.reflector.status.failures == 2)
        }
        await server.stop()
    }

    @Test func `a token that is renewed is read again`() async throws {
        try await Follower.withServer { follower, server, authority in
            try authority.write(token: "second")
            server.accept(token: "second")
            server.fail("pods", .half)
            try await waitUntil { server.seen.last?.token == "second" }
            server.setPod("new", in: "shop", uid: "3")
            try await waitUntil { follower.names == ["db", "new", "web"] }
            // One that nobody renews is refused, and what is known stays.
            server.accept(token: "third")
            server.fail("pods", .half)
            try await waitUntil {
                if case .refused(status: 401, _) = follower.reflector.status.problem {
                    true
                } else {
                    false
                }
            }
            #expect(follower.names == ["db", "new", "web"])
        }
    }

    @Test func `who is not signed by the authority is told nothing`() async throws {
        let (authority, stranger) = (try TestAuthority(), try TestAuthority())
        let server = try await TestAPIServer.start(stranger)
        server.setPod("web", in: "shop", uid: "1")
        try await Follower.with(try APIServer(to: server, authority)) { follower in
            try await waitUntil { follower.reflector.status.failures > 2 }
            let problem = try #require(follower.reflector.status.problem)
            guard case .unreachable(let reason) = problem else {
                Issue.record("\(problem)")
                return
            }
            #expect(reason.contains("CERTIFICATE_VERIFY_FAILED"), "\(reason)")
            #expect(follower.names.isEmpty && follower.reflector.status.lastHeard == nil)
        }
        #expect(server.seen.isEmpty)
        await server.stop()
    }

    @Test func `a server that comes late is found`() async throws {
        let authority = try TestAuthority()
        let early = try await TestAPIServer.start(authority)
        await early.stop()
        try await Follower.with(try APIServer(to: early, authority)) { follower in
            try await waitUntil { follower.reflector.status.failures > 2 }
            let server = try await TestAPIServer.start(authority, after: early)
            server.setPod("web", in: "shop", uid: "1")
            try await waitUntil { follower.names == ["web"] }
            #expect(follower.reflector.status.problem == nil)
            await server.stop()
        }
    }
}
