// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import LocalHTTP
internal import Logging
internal import RedirectionEngine
internal import Synchronization

/// The agent's API: docs/openapi.yaml says what it is, and a test holds the two together.
package struct AgentAPI: Sendable {
    let keeper: PodKeeper
    let feed: EventFeed
    let readiness: Readiness
    /// What tells a mechanism's doings in a workload.
    let inspectors: @Sendable (Workload) -> [any PlanInspector]
    let logger: Logger
    /// Of those whom the server refuses, which may be as many as like to try.
    let refusals = Pace()

    var engine: Engine { keeper.engine }
    var metrics: AgentMetrics { keeper.metrics }

    static let routes = cniRoutes + podRoutes + nodeRoutes

    /// Every method and path, as the document has them.
    package static var operations: [(method: String, path: String)] {
        routes.map { ($0.method, $0.path) }
    }

    func answer(_ request: Request) async -> Answer {
        let found = Self.routes.compactMap { route in
            route.match(request.path).map { (route, $0) }
        }
        guard let (route, variables) = found.first(where: { $0.0.method == request.method }) else {
            let answer = Self.elsewhere(request, allowed: found.map { $0.0.method })
            metrics.noteRequest(request.method.prefix(8).uppercased(), "none", answer.status)
            return answer
        }
        let answer: Answer
        do throws(AgentRefusal) {
            answer = try await route.body(self, Call(request, variables))
        } catch {
            logger.warning(
                "refused: \(error.error.message)",
                metadata: [
                    "request": "\(request.method) \(request.path)", "status": "\(error.status)",
                    "pid": "\(request.peer.pid)",
                ])
            answer = Answer(error)
        }
        metrics.noteRequest(route.method, route.path, answer.status)
        logger.debug(
            "answered",
            metadata: [
                "request": "\(request.method) \(request.path)", "status": "\(answer.status)",
                "pid": "\(request.peer.pid)",
            ])
        return answer
    }

    private static func elsewhere(_ request: Request, allowed: [String]) -> Answer {
        guard allowed.isEmpty else {
            let list = allowed.sorted().joined(separator: ", ")
            var answer = Answer(
                AgentRefusal(
                    405,
                    AgentError(
                        "is not to be had at \(request.path)", field: "method",
                        value: request.method, remedy: "use \(list)", retryable: false)))
            answer.fields = [("allow", list)]
            return answer
        }
        return Answer(
            AgentRefusal(
                404,
                AgentError(
                    "there is nothing", field: "path", value: request.path,
                    remedy: "this agent speaks version \(AgentCall.version)", retryable: false)))
    }

    /// What the server says of itself.
    func refuse(_ refusal: Refusal) -> Answer {
        if let others = refusals.take() {
            let rest = others == 0 ? "" : "; \(others) others have been refused since the last"
            logger.warning("refused: \(refusal)\(rest)")
        }
        metrics.noteRequest("none", "none", refusal.status)
        let isRetryable = refusal.status == 503 || refusal.status == 408
        return Answer(
            AgentRefusal(refusal.status, AgentError("\(refusal)", retryable: isRetryable)))
    }
}

/// Lets one in a second through, and counts the others.
final class Pace: Sendable {
    private let state = Mutex<(last: ContinuousClock.Instant?, others: Int)>((nil, 0))

    /// How many have not been let through since the last; `nil` for one of them.
    func take(now: ContinuousClock.Instant = .now) -> Int? {
        state.withLock { state in
            if let last = state.last, now - last < .seconds(1) {
                state.others += 1
                return nil
            }
            defer { state = (now, 0) }
            return state.others
        }
    }
}
