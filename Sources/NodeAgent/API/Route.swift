// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import Foundation
internal import LocalHTTP
internal import OrderedJSON

/// A method and a path, and what is done there.
struct Route: Sendable {
    let method: String
    /// As the document of the API has it: `/v1/pods/{id}`.
    let path: String
    let body: @Sendable (AgentAPI, Call) async throws(AgentRefusal) -> Answer

    init(
        _ method: String, _ path: String,
        _ body: @escaping @Sendable (AgentAPI, Call) async throws(AgentRefusal) -> Answer
    ) {
        self.method = method
        self.path = path
        self.body = body
    }

    /// The values of the path's variables, if the path is one of the route's.
    func match(_ path: String) -> [String: String]? {
        let pattern = self.path.split(separator: "/", omittingEmptySubsequences: false)
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        guard pattern.count == parts.count else { return nil }
        var values: [String: String] = [:]
        for (name, part) in zip(pattern, parts) {
            if name.first == "{" {
                guard let value = part.removingPercentEncoding, !value.isEmpty else { return nil }
                values[String(name.dropFirst().dropLast())] = value
            } else if name != part {
                return nil
            }
        }
        return values
    }
}

/// A request at a route.
struct Call: Sendable {
    let request: Request
    /// What stands in the path where the route has a variable.
    let path: [String: String]
    let query: [String: String]

    init(_ request: Request, _ path: [String: String]) throws(AgentRefusal) {
        self.request = request
        self.path = path
        var query: [String: String] = [:]
        for pair in request.query.split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let words = parts.map { $0.replacing("+", with: " ").removingPercentEncoding }
            guard let name = words[0], let value = words.count > 1 ? words[1] : "",
                query[name] == nil
            else {
                throw AgentRefusal(malformed: "is no query", field: "query", value: "\(pair)")
            }
            query[name] = value
        }
        self.query = query
    }

    var id: String { path["id"] ?? "" }

    /// The body, an object; an empty one is an empty object.
    func json() throws(AgentRefusal) -> JSON {
        guard !request.body.isEmpty else { return .object([]) }
        do throws(JSONError) {
            return try JSON(parsing: request.body)
        } catch {
            throw AgentRefusal(malformed: "the body is not JSON: \(error)")
        }
    }

    /// Reads the body.
    func read<Value>(
        _ read: (JSON) throws(FieldError) -> Value
    ) throws(AgentRefusal) -> Value {
        let json = try json()
        do throws(FieldError) { return try read(json) } catch { throw AgentRefusal(error) }
    }

    /// Refuses the first part of the query that is not among `known`.
    func refuseQuery(otherThan known: [String]) throws(AgentRefusal) {
        for (name, value) in query.sorted(by: { $0.key < $1.key }) where !known.contains(name) {
            let list = known.isEmpty ? "none" : known.joined(separator: ", ")
            throw AgentRefusal(
                malformed: "is unknown; known are \(list)", field: name, value: value)
        }
    }
}

extension Answer {
    init(_ status: Int = 200, json: JSON) {
        self.init(status, text: json.rendered() + "\n", type: "application/json")
    }

    /// Names in order, so that equal things are equal texts.
    init(_ status: Int = 200, encoding value: some Encodable) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            let data = try encoder.encode(value)
            self.init(status, "application/json", .whole(Array(data) + [UInt8(ascii: "\n")]))
        } catch {
            self.init(AgentRefusal(malformed: "the answer cannot be written: \(error)"))
        }
    }

    init(_ refusal: AgentRefusal) { self.init(refusal.status, json: refusal.error.json) }
}
