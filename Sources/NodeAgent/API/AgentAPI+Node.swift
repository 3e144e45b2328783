// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import LocalHTTP
internal import OrderedJSON
internal import RedirectionEngine

/// What monitoring asks.
extension AgentAPI {
    static let nodeRoutes = [
        Route("GET", "/v1/probe") { (api, _) async throws(AgentRefusal) in
            let assessments = await api.readiness.assess()
            return Answer(encoding: assessments.flatMap { $0.features.map(FeatureAnswer.init) })
        },
        Route("GET", "/v1/events") { (api, call) async throws(AgentRefusal) in
            try call.refuseQuery(otherThan: ["follow"])
            switch call.query["follow"] {
            case nil, "false": return Answer(json: .array(api.feed.latest))
            case "true":
                guard let stream = api.feed.follow() else {
                    throw AgentRefusal(
                        503,
                        AgentError(
                            "\(EventFeed.listeners) listen already", remedy: "try again later",
                            retryable: true))
                }
                return Answer(200, "application/x-ndjson", .stream(stream))
            case let word:
                throw AgentRefusal(
                    malformed: "must be true or false", field: "follow", value: word)
            }
        },
        Route("GET", "/metrics") { (api, _) async throws(AgentRefusal) in
            let text = await api.metrics.text(
                of: api.engine, isReady: await api.readiness.status.ready,
                in: api.keeper.cluster)
            return Answer(200, text: text, type: MetricsText.type)
        },
        Route("GET", "/v1/version") { (_, _) async throws(AgentRefusal) in
            Answer(json: Product.json)
        },
        Route("GET", "/healthz") { (_, _) async throws(AgentRefusal) in
            Answer(200, text: "ok\n")
        },
        Route("GET", "/readyz") { (api, _) async throws(AgentRefusal) in
            let status = await api.readiness.status
            return Answer(
                status.ready ? 200 : 503, text: status.ready ? "ok\n" : status.reason + "\n")
        },
    ]
}
