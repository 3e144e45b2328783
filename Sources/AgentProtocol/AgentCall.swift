// SPDX-License-Identifier: Apache-2.0

/// What the agent can be asked about pods: `POST` to `path`, a JSON object there and one back.
///
/// | call | asks | success answers |
/// |---|---|---|
/// | add | ``PodRequest`` | ``PodAnswer`` |
/// | check | ``PodRequest`` | ``PodAnswer`` |
/// | delete | ``PodRequest``, without `namespacePath` when the pod's is gone | `{}` |
/// | collect | ``CollectRequest`` | `{}` |
/// | status | `{}` | ``StatusAnswer`` |
///
/// Success is status 200; everything else carries an ``AgentError``. Adding what is there already is
/// a success, and so is deleting what is not.
package enum AgentCall: String, CaseIterable, Sendable {
    case add, check, delete, collect, status

    /// The version is in the path: an agent that does not speak it answers 404.
    package static let version = "v1"

    package var path: String { "/\(Self.version)/cni/\(rawValue)" }

    /// Where the agent listens, unless it is told otherwise; its directory is root's alone.
    package static let defaultSocket = "/run/swerve/agent.sock"
}
