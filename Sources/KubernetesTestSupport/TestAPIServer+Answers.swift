// SPDX-License-Identifier: Apache-2.0

internal import Foundation
internal import OrderedJSON

/// The connection is to end here.
private struct Cut: Error {}

extension TestAPIServer {
    func answer(_ request: TestHTTPRequest, _ answer: TestHTTPAnswer) async throws {
        let url = URLComponents(string: request.target)
        let query = Dictionary(
            (url?.queryItems ?? []).map { ($0.name, $0.value ?? "") }
        ) { $1 }
        let bearer = request.fields["authorization"] ?? ""
        let seen = Seen(
            method: request.method, path: url?.path ?? "", query: query,
            accept: request.fields["accept"] ?? "", token: String(bearer.dropFirst(7)))
        // Whoever sees the request may send a bookmark at once.
        let bookmarks = bookmarks
        guard note(seen) else { return try await refuse(401, answer) }
        let parts = seen.path.split(separator: "/").map(String.init)
        switch (seen.method, parts.count) {
        case ("GET", 3) where parts[2] == "pods" || parts[2] == "namespaces":
            if case .status(let status)? = fault(parts[2], inWatch: false) {
                return try await refuse(status, answer)
            }
            if seen.isWatch {
                try await watch(parts[2], seen, bookmarks, answer)
            } else {
                try await list(parts[2], seen, answer)
            }
        case ("GET", 4): try await object("namespaces", parts[3], seen, answer)
        case ("GET", 6): try await object("pods", "\(parts[3])/\(parts[5])", seen, answer)
        case ("POST", 5) where parts[4] == "events":
            let event = try JSON(parsing: request.body)
            noteEvent(event)
            try await send(201, event, answer)
        default: try await refuse(404, answer)
        }
    }

    private func list(_ resource: String, _ seen: Seen, _ answer: TestHTTPAnswer) async throws {
        let (objects, version) = cluster.list(resource, node: seen.node)
        let start = Int(seen.query["continue"] ?? "") ?? 0
        let limit = Int(seen.query["limit"] ?? "") ?? objects.count
        let page = objects.dropFirst(start).prefix(limit)
        let rest = start + page.count < objects.count ? "\(start + page.count)" : nil
        let list = JSON(members: [
            "kind": .string("List"),
            "metadata": JSON(members: [
                "resourceVersion": .string("\(version)"), "continue": rest.map(JSON.string),
            ]),
            "items": .array(page.map { seen.shown($0) }),
        ])
        try await send(200, list, answer)
    }

    private func object(
        _ resource: String, _ key: String, _ seen: Seen, _ answer: TestHTTPAnswer
    ) async throws {
        if case .status(let status)? = fault(resource, inWatch: false) {
            return try await refuse(status, answer)
        }
        guard let object = cluster.object(resource, key) else {
            return try await refuse(404, answer)
        }
        try await send(200, seen.shown(object), answer)
    }

    private func watch(
        _ resource: String, _ seen: Seen, _ bookmarks: Int, _ answer: TestHTTPAnswer
    ) async throws {
        var version = Int(seen.query["resourceVersion"] ?? "") ?? 0
        var bookmarks = bookmarks
        guard cluster.changes(resource, node: seen.node, after: version) != nil else {
            return try await refuse(410, answer)
        }
        try await answer.begin(200)
        let end = ContinuousClock.now + .seconds(Int(seen.query["timeoutSeconds"] ?? "") ?? 60)
        while ContinuousClock.now < end {
            let latest = cluster.version
            guard let changes = cluster.changes(resource, node: seen.node, after: version) else {
                try await answer.write(Self.event("ERROR", Self.status(410)) + "\n")
                return try await answer.end()
            }
            for change in changes {
                try await answer.write(Self.event(change.type, seen.shown(change.object)) + "\n")
                version = change.version
            }
            if bookmarks != self.bookmarks {
                bookmarks = self.bookmarks
                version = max(version, latest)
                try await answer.write(Self.bookmark(version) + "\n")
            }
            if let fault = fault(resource, inWatch: true) {
                return try await carryOut(fault, answer)
            }
            try await Task.sleep(for: .milliseconds(5))
        }
        try await answer.end()
    }

    private func carryOut(_ fault: Fault, _ answer: TestHTTPAnswer) async throws {
        switch fault {
        case .status: break
        case .error(let code): try await answer.write(Self.event("ERROR", Self.status(code)) + "\n")
        case .garbage: try await answer.write("<html>it works</html>\n")
        case .half:
            try await answer.write(#"{"type":"MODIFIED","object":{"meta"#)
            throw Cut()
        case .silence: try await Task.sleep(for: .seconds(600))
        case .flood:
            try await answer.write(#"{"type":"MODIFIED","object":{"x":""#)
            while true { try await answer.write(String(repeating: "x", count: 65_536)) }
        case .slow:
            for letter in Self.event("ADDED", slowPod) + "\n" {
                try await answer.write(String(letter))
                try await Task.sleep(for: .milliseconds(1))
            }
        }
        try await answer.end()
    }

    private var slowPod: JSON {
        JSON(members: [
            "metadata": JSON(members: [
                "name": .string("slow"), "namespace": .string("shop"), "uid": .string("8"),
                "resourceVersion": .string("\(cluster.version)"),
            ])
        ])
    }

    private static func event(_ type: String, _ object: JSON) -> String {
        JSON(members: ["type": .string(type), "object": object]).rendered()
    }

    private static func bookmark(_ version: Int) -> String {
        event(
            "BOOKMARK",
            JSON(members: [
                "metadata": JSON(members: ["resourceVersion": .string("\(version)")])
            ]))
    }

    private static func status(_ code: Int) -> JSON {
        JSON(members: [
            "kind": .string("Status"), "status": .string("Failure"),
            "message": .string("the test says \(code)"), "code": JSON(code),
        ])
    }

    private func refuse(_ status: Int, _ answer: TestHTTPAnswer) async throws {
        try await send(status, Self.status(status), answer)
    }

    private func send(_ status: Int, _ json: JSON, _ answer: TestHTTPAnswer) async throws {
        try await answer.begin(status)
        try await answer.write(json.rendered())
        try await answer.end()
    }
}

extension TestAPIServer.Seen {
    /// Of which node the objects are to be.
    fileprivate var node: String? {
        query["fieldSelector"]?.split(separator: "=").last.map(String.init)
    }

    /// As much of an object as is asked for.
    fileprivate func shown(_ object: JSON) -> JSON {
        guard accept.contains("as=PartialObjectMetadata") else { return object }
        return JSON(members: [
            "kind": .string("PartialObjectMetadata"), "metadata": object["metadata"],
        ])
    }
}
