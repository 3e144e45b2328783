// SPDX-License-Identifier: Apache-2.0

internal import AsyncHTTPClient
internal import LinuxKernel
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
package import OrderedJSON

/// A client of the API server: as much of it as a node's agent needs.
///
/// Every answer is bounded in size and time. It has to be shut down.
package final class KubernetesClient: Sendable {
    package struct Limits: Sendable {
        /// How many objects a page of a list has.
        package var page = 100
        package var pageBytes = 32 << 20
        /// How many pages a list has at most.
        package var pages = 1000
        /// etcd takes no object of more than 1.5 MiB; JSON says the same in more.
        package var eventBytes = 4 << 20
        /// How long an answer may take, from asking to its last byte.
        package var answer = Duration.seconds(30)
        /// How long a watch lasts, if nothing ends it.
        package var watch = Duration.seconds(300)
        /// How long a connection may be silent: servers send a bookmark each minute.
        package var silence = Duration.seconds(120)

        package init() {}
    }

    let server: APIServer
    let limits: Limits
    private let credentials: Credentials
    private let http: HTTPClient

    package init(_ server: APIServer, limits: Limits = Limits()) {
        self.server = server
        self.limits = limits
        credentials = Credentials(server)
        var configuration = HTTPClient.Configuration()
        // What was meant for the API server, a token above all, is for nobody else.
        configuration.redirectConfiguration = .disallow
        configuration.httpVersion = .http1Only
        configuration.timeout.connect = .seconds(10)
        configuration.timeout.read = .nanoseconds(limits.silence.nanoseconds)
        configuration.connectionPool.retryConnectionEstablishment = false
        http = HTTPClient(
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton, configuration: configuration)
    }

    package func shutDown() async { try? await http.shutdown() }

    /// Every object there is, and the version to watch from; asked for page by page.
    package func list(
        _ resource: KubernetesResource
    ) async throws(KubernetesError) -> (objects: [KubernetesObject], version: String) {
        var objects: [KubernetesObject] = []
        var rest: String?
        for _ in 0..<limits.pages {
            var query = resource.query + [("limit", "\(limits.page)")]
            if let rest { query.append(("continue", rest)) }
            let page = try KubernetesPage(try await get(resource.path, query, Self.lists))
            objects += page.objects
            guard let next = page.rest else { return (objects, page.version) }
            guard next != rest else { throw .malformed("a list goes on where it went on before") }
            rest = next
        }
        throw .malformed("a list has more than \(limits.pages) pages")
    }

    /// One object; `nil` if there is none of that name.
    package func object(
        _ name: String, in namespace: String? = nil, within patience: Duration
    ) async throws(KubernetesError) -> KubernetesObject? {
        let path =
            namespace.map { "/api/v1/namespaces/\($0.percentEncoded)/pods/" }
            ?? "/api/v1/namespaces/"
        do throws(KubernetesError) {
            return try KubernetesObject(
                try await get(path + name.percentEncoded, [], Self.objects, within: patience))
        } catch {
            if case .refused(status: 404, _) = error { return nil }
            throw error
        }
    }

    /// Makes an object of a namespace's.
    package func create(
        _ kind: String, in namespace: String, _ object: JSON
    ) async throws(KubernetesError) {
        let body = Array(object.rendered().utf8)
        let path = "/api/v1/namespaces/\(namespace.percentEncoded)/\(kind)"
        let patience = limits.answer
        _ = try await within(patience) { () async throws(KubernetesError) in
            try await self.answer(
                try await self.ask(.POST, path, [], "application/json", body, patience))
        }
    }

    /// Calls `take` with each event after `version`, until the watch ends, which is no error.
    func watch(
        _ resource: KubernetesResource, from version: String,
        _ take: (WatchEvent) throws(KubernetesError) -> Void
    ) async throws(KubernetesError) {
        let query =
            resource.query + [
                ("watch", "true"), ("resourceVersion", version), ("allowWatchBookmarks", "true"),
                ("timeoutSeconds", "\(limits.watch.components.seconds)"),
            ]
        let response = try await ask(.GET, resource.path, query, Self.objects, nil, limits.answer)
        let deadline = ContinuousClock.now + limits.watch + limits.answer
        guard response.status == .ok else {
            _ = try await within(limits.answer) { () async throws(KubernetesError) in
                try await self.answer(response)
            }
            return
        }
        var lines = LineBuffer(limit: limits.eventBytes)
        var body = response.body.makeAsyncIterator()
        while let piece = try await Self.next(&body, limits.silence) {
            lines.append(piece.readableBytesView)
            while let line = try lines.next() {
                guard !line.isEmpty else { continue }
                try take(try WatchEvent(line))
            }
            guard ContinuousClock.now < deadline else {
                throw .silent(limits.watch + limits.answer)
            }
        }
        guard !lines.hasRest else { throw .unreachable("the watch ended within an event") }
    }

    // MARK: Asking

    /// Metadata alone, where the server can do that: since Kubernetes 1.15 all can.
    private static let lists = partial("PartialObjectMetadataList")
    private static let objects = partial("PartialObjectMetadata")

    private static func partial(_ kind: String) -> String {
        "application/json;as=\(kind);g=meta.k8s.io;v=v1,application/json"
    }

    private func get(
        _ path: String, _ query: [(String, String)], _ accept: String,
        within patience: Duration? = nil
    ) async throws(KubernetesError) -> JSON {
        let patience = patience ?? limits.answer
        let bytes = try await within(patience) { () async throws(KubernetesError) in
            try await self.answer(try await self.ask(.GET, path, query, accept, nil, patience))
        }
        return try KubernetesError.reading(bytes)
    }

    /// What comes of `body`, if it comes in time: an answer may stop at any byte, and the HTTP client's
    /// own limit ends with the answer's head.
    private func within<Value: Sendable>(
        _ patience: Duration, _ body: @escaping @Sendable () async throws(KubernetesError) -> Value
    ) async throws(KubernetesError) -> Value {
        let first = await withTaskGroup(of: Result<Value, KubernetesError>.self) { group in
            group.addTask {
                do throws(KubernetesError) {
                    return .success(try await body())
                } catch { return .failure(error) }
            }
            group.addTask {
                try? await Task.sleep(for: patience)
                return .failure(.silent(patience))
            }
            defer { group.cancelAll() }
            return await group.next() ?? .failure(.silent(patience))
        }
        return try first.get()
    }

    /// Asks once, and once more with a token that is read anew if the server knows this one no longer.
    private func ask(
        _ method: HTTPMethod, _ path: String, _ query: [(String, String)], _ accept: String,
        _ body: [UInt8]?, _ patience: Duration
    ) async throws(KubernetesError) -> HTTPClientResponse {
        let known = try credentials.current()
        let first = try await send(method, path, query, accept, body, patience, known)
        guard first.status == .unauthorized else { return first }
        let renewed = try credentials.current(renewing: true)
        guard renewed.token != known.token else { return first }
        return try await send(method, path, query, accept, body, patience, renewed)
    }

    private func send(
        _ method: HTTPMethod, _ path: String, _ query: [(String, String)], _ accept: String,
        _ body: [UInt8]?, _ patience: Duration, _ credentials: Credentials.Reading
    ) async throws(KubernetesError) -> HTTPClientResponse {
        let pairs = query.map { "\($0)=\($1.percentEncoded)" }.joined(separator: "&")
        var request = HTTPClientRequest(url: server.url + path + (pairs.isEmpty ? "" : "?" + pairs))
        request.method = method
        request.tlsConfiguration = credentials.tls
        request.headers = [
            "accept": accept, "authorization": "Bearer \(credentials.token)",
            "user-agent": "swerved",
        ]
        if let body {
            request.headers.add(name: "content-type", value: "application/json")
            request.body = .bytes(ByteBuffer(bytes: body))
        }
        do {
            return try await http.execute(request, timeout: .nanoseconds(patience.nanoseconds))
        } catch {
            throw KubernetesError(error, after: patience)
        }
    }

    /// The whole of an answer that is a success.
    private func answer(
        _ response: HTTPClientResponse
    ) async throws(KubernetesError) -> [UInt8] {
        let isGood = (200..<300).contains(response.status.code)
        let limit = isGood ? limits.pageBytes : 64 << 10
        var bytes: [UInt8] = []
        var body = response.body.makeAsyncIterator()
        while let piece = try await Self.next(&body, limits.silence) {
            bytes += piece.readableBytesView
            guard bytes.count <= limit else { throw .tooLarge("an answer", limit: limit) }
        }
        guard isGood else {
            throw KubernetesError(
                status: Int(response.status.code), try? KubernetesError.reading(bytes))
        }
        return bytes
    }

    private static func next(
        _ body: inout HTTPClientResponse.Body.AsyncIterator, _ silence: Duration
    ) async throws(KubernetesError) -> ByteBuffer? {
        do {
            return try await body.next(isolation: #isolation)
        } catch {
            throw KubernetesError(error, after: silence)
        }
    }
}

extension KubernetesError {
    /// What the HTTP client says, after so long.
    fileprivate init(_ error: any Error, after time: Duration) {
        let timeouts: [HTTPClientError] = [
            .readTimeout, .deadlineExceeded, .connectTimeout, .tlsHandshakeTimeout,
        ]
        if let error = error as? HTTPClientError, timeouts.contains(error) {
            self = .silent(time)
        } else {
            self = .unreachable("\(error)")
        }
    }
}

extension Duration {
    fileprivate var nanoseconds: Int64 {
        components.seconds * 1_000_000_000 + components.attoseconds / 1_000_000_000
    }
}

extension String {
    /// The text with everything escaped that means something in a URL.
    fileprivate var percentEncoded: String {
        utf8.reduce(into: "") { text, byte in
            let scalar = Unicode.Scalar(byte)
            if scalar.properties.isAlphabetic && byte < 0x80 || (0x30...0x39).contains(byte)
                || "-._~".unicodeScalars.contains(scalar)
            {
                text.unicodeScalars.append(scalar)
            } else {
                let digits = String(byte, radix: 16, uppercase: true)
                text += digits.count == 1 ? "%0" + digits : "%" + digits
            }
        }
    }
}
