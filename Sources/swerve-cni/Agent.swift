// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import CNIPlugin
internal import OrderedJSON
internal import PluginSystem

/// The agent, over its socket: one connection, one request, one answer, one deadline for it all.
enum Agent {
    static func ask(
        _ call: AgentCall, _ body: JSON, _ configuration: PluginConfiguration
    ) throws(AgentFailure) -> JSON {
        let seconds = configuration.timeoutSeconds
        let answer: Result<HTTPReply, HTTPReply.Malformed>
        do throws(SystemFailure) {
            answer = try exchange(
                HTTPRequest.bytes(call, body), configuration.agentSocket,
                by: Deadline(in: .seconds(seconds)))
        } catch {
            throw error.isTimeout ? .slow(seconds: seconds) : .unreachable(error.reason)
        }
        switch answer {
        case .success(let reply): return try success(reply)
        case .failure(let malformed): throw .garbled(malformed.problem)
        }
    }

    private static func exchange(
        _ request: [UInt8], _ path: String, by deadline: Deadline
    ) throws(SystemFailure) -> Result<HTTPReply, HTTPReply.Malformed> {
        let connection = try Descriptor.connect(path, by: deadline)
        try connection.send(request, by: deadline)
        var received: [UInt8] = []
        while true {
            let chunk = try connection.receive(by: deadline)
            received += chunk
            do throws(HTTPReply.Malformed) {
                if let reply = try HTTPReply(received, ended: chunk.isEmpty) {
                    return .success(reply)
                }
            } catch { return .failure(error) }
        }
    }

    /// What a success carries; everything else is thrown.
    private static func success(_ reply: HTTPReply) throws(AgentFailure) -> JSON {
        let body: JSON
        do throws(JSONError) {
            body = try JSON(parsing: reply.body)
        } catch {
            if reply.status == 404 { throw .otherVersion }
            throw .garbled("status \(reply.status), and a body that is not JSON: \(error)")
        }
        guard reply.status != 200 else { return body }
        let refusal: AgentError
        do throws(FieldError) {
            refusal = try AgentError(body)
        } catch {
            if reply.status == 404 { throw .otherVersion }
            throw .garbled("status \(reply.status), and no reason: \(error.message)")
        }
        throw .refused(refusal)
    }
}
