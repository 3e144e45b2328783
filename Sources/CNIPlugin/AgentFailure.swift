// SPDX-License-Identifier: Apache-2.0

package import AgentProtocol

/// Why the agent did not do what it was asked.
package enum AgentFailure: Error, Hashable {
    /// Nobody listens there, or may be spoken to.
    case unreachable(String)
    /// It has not answered in time.
    case slow(seconds: Int)
    /// What came back is no answer of our protocol.
    case garbled(String)
    /// It speaks, but not our version.
    case otherVersion
    /// It has refused.
    case refused(AgentError)

    /// Whether the agent itself has said so, rather than not been there to say anything.
    var isAnswer: Bool {
        if case .refused = self { true } else { false }
    }

    var isWorthRetrying: Bool {
        if case .refused(let error) = self { error.retryable } else { true }
    }

    /// The failure as a runtime reads it.
    func cniError(_ configuration: PluginConfiguration) -> CNIError {
        let socket = configuration.agentSocket
        let start = "start swerved on this node; the pod will be tried again"
        switch self {
        case .unreachable(let reason):
            return CNIError(
                .tryAgainLater, "the agent cannot be reached at \(socket): \(reason)",
                details: start)
        case .slow(let seconds):
            return CNIError(
                .tryAgainLater, "the agent at \(socket) has not answered in \(seconds) s",
                details: "see swerved's log and this node's load; the pod will be tried again")
        case .garbled(let problem):
            return CNIError(
                .tryAgainLater, "what answers at \(socket) is not the agent: \(problem)",
                details: "see what listens there; the pod will be tried again")
        case .otherVersion:
            return CNIError(
                .tryAgainLater,
                "the agent at \(socket) does not speak version \(AgentCall.version)",
                details: "install plugin and agent of the same release")
        case .refused(let error):
            let named = error.field.map { "\($0)\(error.value.map { " (\($0))" } ?? ""): " } ?? ""
            return CNIError(
                error.retryable ? .tryAgainLater : .refused, named + error.message,
                details: error.remedy ?? "")
        }
    }
}
