// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import OrderedJSON
internal import RedirectionEngine
internal import Synchronization

/// What happens to workloads, for whoever wants to hear of it.
final class EventFeed: Sendable {
    /// Who is too slow for that many events loses the oldest of them.
    static let patience = 256
    static let listeners = 16

    private struct State {
        var latest: [JSON] = []
        var next = 0
        var followers: [Int: AsyncStream<[UInt8]>.Continuation] = [:]
        var isOver = false
    }

    private let state = Mutex(State())

    /// The latest, the oldest first.
    var latest: [JSON] { state.withLock(\.latest) }

    func publish(_ event: EngineEvent) {
        let json = event.json(at: .now)
        let line = Array((json.rendered() + "\n").utf8)
        let followers = state.withLock { state in
            state.latest.append(json)
            if state.latest.count > EventLog.limit { state.latest.removeFirst() }
            return Array(state.followers.values)
        }
        for follower in followers { follower.yield(line) }
    }

    /// What happens from now on, a JSON object a line; `nil` when too many listen already.
    func follow() -> AsyncStream<[UInt8]>? {
        let (stream, continuation) = AsyncStream<[UInt8]>.makeStream(
            bufferingPolicy: .bufferingNewest(Self.patience))
        let number: Int? = state.withLock { state in
            guard !state.isOver, state.followers.count < Self.listeners else { return nil }
            state.next += 1
            state.followers[state.next] = continuation
            return state.next
        }
        guard let number else { return nil }
        continuation.onTermination = { [weak self] _ in
            _ = self?.state.withLock { $0.followers.removeValue(forKey: number) }
        }
        return stream
    }

    /// Ends every stream.
    func finish() {
        let followers = state.withLock { state in
            state.isOver = true
            return Array(state.followers.values)
        }
        for follower in followers { follower.finish() }
    }
}

extension EngineEvent {
    /// `{"time": "2026-11-21T14:00:00Z", "workload": "web", "kind": "applied", …}`.
    fileprivate func json(at time: Date) -> JSON {
        JSON(members: [
            "time": .string(time.ISO8601Format()), "workload": .string(workload),
            "kind": .string(name), "mechanism": mechanism.map { .string($0.rawValue) },
            "message": .string("\(self)"),
        ])
    }

    /// What kind it is, for programs.
    var name: String {
        switch kind {
        case .applied: "applied"
        case .removed: "removed"
        case .retired: "retired"
        case .lingering: "lingering"
        case .recovering: "recovering"
        case .drifted: "drifted"
        case .repaired: "repaired"
        case .forgotten: "forgotten"
        case .orphan: "orphan"
        case .failed: "failed"
        }
    }

    var mechanism: Mechanism? {
        switch kind {
        case .applied(let mechanism, _): mechanism
        case .retired(let mechanism), .lingering(let mechanism, _), .drifted(let mechanism, _),
            .repaired(let mechanism):
            mechanism
        case .removed, .recovering, .forgotten, .orphan, .failed: nil
        }
    }
}
