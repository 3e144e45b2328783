// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol

/// What has been told of which pod, so that one that keeps failing is not told of each time, and
/// silences no other.
///
/// The same is said once an hour. Messages often hold what differs at each try, a path or a number, so
/// that of another message of the same pod and reason only the first few are told at once.
struct EventMemory: Sendable {
    struct Topic: Hashable, Sendable {
        let pod: PodIdentity
        let reason: String
    }

    private struct Said {
        /// `nil` if it could not be told after all.
        var message: String?
        var at: ContinuousClock.Instant
        var times: Int
    }

    /// Of how many pods and reasons it is known; of more, the oldest are forgotten.
    static let limit = 512
    static let life = Duration.seconds(3600)
    /// How many messages of one pod and reason are told without a wait, and how long that is.
    static let free = 3
    static let wait = Duration.seconds(600)

    private var said: [Topic: Said] = [:]

    var count: Int { said.count }

    /// Whether this is to be told now.
    mutating func take(
        _ message: String, of topic: Topic, at now: ContinuousClock.Instant
    ) -> Bool {
        said = said.filter { now - $0.value.at < Self.life }
        if let before = said[topic] {
            guard before.message != message,
                before.times < Self.free || now - before.at >= Self.wait
            else { return false }
            said[topic] = Said(message: message, at: now, times: before.times + 1)
            return true
        }
        if said.count >= Self.limit, let oldest = said.min(by: { $0.value.at < $1.value.at }) {
            said[oldest.key] = nil
        }
        said[topic] = Said(message: message, at: now, times: 1)
        return true
    }

    /// What was taken last has not been told: it may be once more.
    mutating func forgetLast(of topic: Topic) {
        guard var before = said[topic] else { return }
        before.message = nil
        before.times -= 1
        said[topic] = before.times > 0 ? before : nil
    }
}
