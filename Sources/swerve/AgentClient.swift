// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import ArgumentParser
internal import CommandOptions
internal import FoundationEssentials
internal import OrderedJSON
internal import PluginSystem
internal import RedirectionEngine

#if canImport(Glibc)
internal import Glibc
#endif

/// Whether to ask the agent, in options.
struct AgentOptions: ParsableArguments {
    @Flag(
        help: """
            Do it here, and not through the agent, which has --pins, --cgroup-root and \
            --max-features of its own.
            """)
    var standalone = false

    /// The agent of the node; `nil` where none listens, or none is wanted.
    func agent(of node: NodeOptions) throws -> AgentClient? {
        guard !standalone, let agent = try AgentClient.find(node.stateDir + "/agent.sock") else {
            return nil
        }
        for (name, isGiven) in [
            ("--pins", node.pins != NodeOptions.defaultPins),
            ("--cgroup-root", node.cgroupRoot != nil),
            ("--max-features", node.features.maxFeatures != nil),
        ] where isGiven {
            throw ValidationError(
                "\(name): the agent goes by its own; leave it out, or say --standalone to do without "
                    + "the agent")
        }
        return agent
    }
}

/// The agent, asked over its socket.
struct AgentClient: Sendable {
    private let socket: String
    /// A switch under a lock that others hold takes its time.
    private static let patience = Duration.seconds(120)

    /// What the agent has refused.
    struct Refused: Error, CustomStringConvertible {
        let error: AgentError

        var description: String {
            let subject = error.field.map { "\($0)\(error.value.map { " (\($0))" } ?? ""): " } ?? ""
            return subject + error.message + (error.remedy.map { "; \($0)" } ?? "")
        }
    }

    /// What came is no answer of an agent's.
    struct Garbled: Error, CustomStringConvertible {
        let socket: String
        let problem: String

        var description: String {
            "what answers at \(socket) is not the agent (\(problem)); --standalone does without it"
        }
    }

    static func find(_ socket: String) throws(SystemFailure) -> AgentClient? {
        do throws(SystemFailure) {
            let connection = try Descriptor.connect(socket, by: Deadline(in: .seconds(10)))
            // Somebody listens, which is all there is to know: nothing is said.
            try connection.send([], by: Deadline(in: .seconds(10)))
        } catch {
            guard error.number == ENOENT || error.number == ECONNREFUSED else { throw error }
            return nil
        }
        return AgentClient(socket: socket)
    }

    func apply(_ id: Workload.ID, _ wish: JSON) throws -> WorkloadReport {
        try report(ask("PUT", id, wish))
    }

    func setMode(_ mode: String, of id: Workload.ID) throws -> WorkloadReport {
        try report(ask("PATCH", id, JSON(members: ["mode": .string(mode)])))
    }

    func remove(_ id: Workload.ID) throws {
        // To the agent it is a success to delete what is not there; to who misspells a name it is not.
        _ = try ask("GET", id, nil)
        _ = try ask("DELETE", id, nil)
    }

    private func report(_ reply: HTTPReply) throws -> WorkloadReport {
        do {
            return try JSONDecoder().decode(WorkloadReport.self, from: Data(reply.body))
        } catch {
            throw Garbled(socket: socket, problem: "\(error)")
        }
    }

    /// What is at a path, whatever the status.
    func get(_ path: String) throws -> HTTPReply { try exchange("GET", path, nil) }

    private func ask(_ method: String, _ id: Workload.ID, _ body: JSON?) throws -> HTTPReply {
        // Ids have nothing that a path would have to quote.
        try StateStore.check(id)
        return try success(exchange(method, "/\(AgentCall.version)/pods/\(id)", body))
    }

    private func exchange(_ method: String, _ path: String, _ body: JSON?) throws -> HTTPReply {
        let deadline = Deadline(in: Self.patience)
        let connection = try Descriptor.connect(socket, by: deadline)
        try connection.send(HTTPRequest.bytes(method, path, body), by: deadline)
        var received: [UInt8] = []
        while true {
            let chunk = try connection.receive(by: deadline)
            received += chunk
            let reply: HTTPReply?
            do throws(HTTPReply.Malformed) {
                reply = try HTTPReply(received, ended: chunk.isEmpty)
            } catch {
                throw Garbled(socket: socket, problem: error.problem)
            }
            if let reply { return reply }
        }
    }

    private func success(_ reply: HTTPReply) throws -> HTTPReply {
        if reply.status == 200 { return reply }
        guard let json = try? JSON(parsing: reply.body), let error = try? AgentError(json) else {
            throw Garbled(socket: socket, problem: "status \(reply.status)")
        }
        throw Refused(error: error)
    }
}
