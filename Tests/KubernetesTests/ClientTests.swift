// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import KubernetesTestSupport
import OrderedJSON
import Testing

@testable import KubernetesClient

/// The client's parts.
@Suite(.timeLimit(.minutes(2))) struct ClientTests {
    @Test func `lines come out of pieces of any size`() throws {
        let text = "one\n\ntwo and more\nrest"
        for size in 1...text.utf8.count {
            var buffer = LineBuffer(limit: 20)
            var lines: [String] = []
            var rest = Array(text.utf8)[...]
            while !rest.isEmpty {
                buffer.append(rest.prefix(size))
                rest = rest.dropFirst(size)
                while let line = try buffer.next() {
                    lines.append(String(decoding: line, as: UTF8.self))
                }
            }
            #expect(lines == ["one", "", "two and more"])
            #expect(buffer.hasRest)
        }
    }

    @Test func `a line that is too long is refused before its end`() {
        var buffer = LineBuffer(limit: 4)
        buffer.append(Array("1234".utf8))
        #expect(throws: Never.self) { _ = try buffer.next() }
        buffer.append(Array("5".utf8))
        #expect(throws: KubernetesError.tooLarge("an event", limit: 4)) { _ = try buffer.next() }
    }

    @Test func `waits grow up to a limit, and differ`() {
        var backoff = Backoff(first: .seconds(1), longest: .seconds(10))
        let bounds = [1, 2, 4, 8, 10, 10, 10].map { Duration.seconds($0) }
        for bound in bounds {
            let wait = backoff.fail()
            #expect(wait <= bound && wait >= bound / 2)
        }
        for _ in 0..<100 { _ = backoff.fail() }
        #expect(Set((0..<20).map { _ in backoff.fail() }).count > 10)
        backoff.succeed()
        #expect(backoff.fail() <= .seconds(1))
    }

    @Test func `where the server is comes from the cluster or from who starts us`() throws {
        let variables = [
            "KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443",
        ]
        let inside = try APIServer(environment: variables)
        #expect(inside.url == "https://[fd00::1]:443")
        #expect(inside.tokenFile == "/var/run/secrets/kubernetes.io/serviceaccount/token")
        #expect(inside.authorityFile == "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
        let outside = try APIServer(
            url: "https://kube:6443/", tokenFile: "/t", authorityFile: "/c", environment: [:])
        #expect(outside.url == "https://kube:6443" && outside.tokenFile == "/t")
        #expect(throws: KubernetesError.notInCluster(missing: "KUBERNETES_SERVICE_HOST")) {
            _ = try APIServer()
        }
        for url in ["http://kube", "kube:443", "https://", "https://kube/x", "https://a@kube"] {
            #expect(throws: KubernetesError.self, "\(url)") { _ = try APIServer(url: url) }
        }
    }

    @Test func `what kubelet renews is read again after its time`() throws {
        let authority = try TestAuthority(token: "first")
        let server = try APIServer(
            url: "https://kube", tokenFile: authority.tokenFile,
            authorityFile: authority.authorityFile)
        let (patient, eager) = (Credentials(server), Credentials(server, lifetime: .zero))
        #expect(try patient.current().token == "first" && eager.current().token == "first")
        try authority.write(token: "second")
        #expect(try patient.current().token == "first" && eager.current().token == "second")
        #expect(try patient.current(renewing: true).token == "second")
        // While it is gone for the moment, what is known has to do.
        try authority.write(token: "")
        #expect(try eager.current().token == "second")
        #expect(throws: KubernetesError.self) { _ = try Credentials(server).current() }
    }

    @Test(arguments: [TestAPIServer.Stall.beforeHead, .afterHead])
    func `an answer that stops is waited for no longer than was said`(
        _ stall: TestAPIServer.Stall
    ) async throws {
        let authority = try TestAuthority()
        let api = try await TestAPIServer.start(authority)
        api.setPod("web", in: "shop", uid: "1")
        api.stallObjects(stall)
        var limits = KubernetesClient.Limits()
        limits.silence = .seconds(600)
        let client = KubernetesClient(try APIServer(to: api, authority), limits: limits)
        await #expect(throws: KubernetesError.silent(.seconds(1))) {
            _ = try await client.object("web", in: "shop", within: .seconds(1))
        }
        await client.shutDown()
        await api.stop()
    }

    @Test func `a list has an end`() async throws {
        let authority = try TestAuthority()
        let api = try await TestAPIServer.start(authority)
        for number in 1...5 { api.setPod("web-\(number)", in: "shop", uid: "\(number)") }
        var limits = KubernetesClient.Limits()
        (limits.page, limits.pages) = (2, 3)
        let patient = KubernetesClient(try APIServer(to: api, authority), limits: limits)
        #expect(try await patient.list(.pods(on: "node-1")).objects.count == 5)
        await patient.shutDown()
        limits.pages = 2
        let strict = KubernetesClient(try APIServer(to: api, authority), limits: limits)
        await #expect(throws: KubernetesError.malformed("a list has more than 2 pages")) {
            _ = try await strict.list(.pods(on: "node-1"))
        }
        await strict.shutDown()
        await api.stop()
    }

    @Test func `one object is asked for by its name`() async throws {
        let authority = try TestAuthority()
        let api = try await TestAPIServer.start(authority)
        api.setPod("web", in: "shop", uid: "1", labels: ["a": "b"])
        api.setNamespace("shop", annotations: ["c": "d"])
        let client = KubernetesClient(try APIServer(to: api, authority))
        let patience = Duration.seconds(20)
        let web = try await client.object("web", in: "shop", within: patience)
        #expect(web?.uid == "1" && web?.labels == ["a": "b"])
        #expect(try await client.object("shop", within: patience)?.annotations == ["c": "d"])
        #expect(try await client.object("db", in: "shop", within: patience) == nil)
        try await client.create("events", in: "shop", JSON(members: ["x": JSON(1)]))
        #expect(api.events == [JSON(members: ["x": JSON(1)])])
        api.fail("pods", .status(403))
        await #expect(
            throws: KubernetesError.refused(status: 403, message: "the test says 403")
        ) { _ = try await client.object("web", in: "shop", within: patience) }
        await client.shutDown()
        await api.stop()
    }
}
