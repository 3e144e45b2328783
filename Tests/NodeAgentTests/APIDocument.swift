// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import Foundation
import OrderedJSON
import Testing
import Yams

/// A method and a path with its variables.
struct Operation: Hashable, CustomStringConvertible {
    let method: String
    let path: String

    init(_ method: String, _ path: String) {
        self.method = method
        self.path = path
    }

    var description: String { "\(method) \(path)" }
}

/// docs/openapi.yaml, as far as answers are concerned.
struct APIDocument {
    private let root: Node
    /// Each operation's answers, by status.
    let operations: [Operation: [Int: Node]]

    init() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../../docs/openapi.yaml")
        let text = try String(contentsOf: file, encoding: .utf8)
        root = try #require(try Yams.compose(yaml: text))
        var operations: [Operation: [Int: Node]] = [:]
        for (path, item) in try #require(root["paths"]?.mapping) {
            for (method, operation) in try #require(item.mapping) where method != "parameters" {
                var statuses: [Int: Node] = [:]
                // What is there by default is not to be relied upon: what can come has its number.
                for (status, answer) in try #require(operation["responses"]?.mapping)
                where status.string != "default" {
                    statuses[try #require(status.string.flatMap { Int($0) })] = answer
                }
                let name = try #require(method.string).uppercased()
                operations[Operation(name, try #require(path.string))] = statuses
            }
        }
        self.operations = operations
    }

    /// The operation that a path without variables is one of.
    func operation(_ method: String, _ path: String) -> Operation? {
        let parts = path.split(separator: "/")
        return operations.keys.filter { operation in
            let pattern = operation.path.split(separator: "/")
            return operation.method == method && pattern.count == parts.count
                && zip(pattern, parts).allSatisfy { $0.first == "{" || $0 == $1 }
        }.first
    }

    /// What of an answer is not as the document says.
    func problems(with reply: HTTPReply, of operation: Operation) -> [String] {
        guard let answer = operations[operation]?[reply.status] else {
            return ["status \(reply.status) is not in the document"]
        }
        guard let schema = resolved(answer)["content"]?["application/json"]?["schema"] else {
            return []
        }
        guard let json = try? JSON(parsing: reply.body) else { return ["the body is not JSON"] }
        return problems(json, schema, at: "body")
    }

    private func resolved(_ node: Node) -> Node {
        guard let reference = node["$ref"]?.string else { return node }
        let found = reference.split(separator: "/").dropFirst().reduce(root) { node, part in
            node[String(part)] ?? ""
        }
        return resolved(found)
    }

    private func problems(_ json: JSON, _ schema: Node, at place: String) -> [String] {
        let schema = resolved(schema)
        switch (schema["type"]?.string, json) {
        case ("object", .object(let members)):
            let required = schema["required"]?.array(of: String.self) ?? []
            var problems = required.filter { json[$0] == nil }.map { "\(place).\($0) is missing" }
            let known = schema["properties"]?.mapping
            for member in members {
                let inner = known?[Node(member.name)] ?? schema["additionalProperties"]
                if let inner {
                    problems += self.problems(member.value, inner, at: "\(place).\(member.name)")
                } else if known != nil {
                    problems.append("\(place).\(member.name) is not in the document")
                }
            }
            return problems
        case ("array", .array(let elements)):
            guard let items = schema["items"] else { return [] }
            return elements.flatMap { problems($0, items, at: place + "[]") }
        case ("string", .string(let text)):
            let allowed = schema["enum"]?.array(of: String.self) ?? [text]
            return allowed.contains(text) ? [] : ["\(place) is \(text)"]
        case ("boolean", .bool): return []
        case ("integer", .number): return json.integer == nil ? ["\(place) is no integer"] : []
        default: return ["\(place) is \(json.kind)"]
        }
    }
}
