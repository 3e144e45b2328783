// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import FoundationEssentials
internal import KubernetesClient
internal import Logging
internal import OrderedJSON
internal import RedirectionEngine
internal import Synchronization

/// Tells of a pod in the cluster what its owner should know: `kubectl describe pod` shows it.
///
/// Nobody waits for that. `EventMemory` says what is said again; all together is said once a second after
/// a first few, and what cannot be said is dropped.
final class PodEvents: Sendable {
    struct Counts: Hashable, Sendable {
        var sent: UInt64 = 0
        var dropped: UInt64 = 0
    }

    private struct Notice: Sendable {
        let pod: PodIdentity
        let isWarning: Bool
        let reason: String
        let message: String

        var topic: EventMemory.Topic { .init(pod: pod, reason: reason) }
    }

    private struct State {
        var memory = EventMemory()
        var counts = Counts()
    }

    /// How many may wait, and come at once; the API server takes 1024 bytes of each.
    private static let burst = 20
    private static let messageLimit = 1000

    private let client: KubernetesClient
    private let node: String
    private let logger: Logger
    private let state = Mutex(State())
    private let notices: AsyncStream<Notice>
    private let writer: AsyncStream<Notice>.Continuation

    init(_ client: KubernetesClient, node: String, _ logger: Logger) {
        self.client = client
        self.node = node
        self.logger = logger
        (notices, writer) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(Self.burst))
    }

    var counts: Counts { state.withLock(\.counts) }

    /// Tells of a pod for which a mechanism was passed over.
    func tell(of record: WorkloadRecord, _ pod: PodIdentity) {
        guard let choice = record.choice, !choice.passedOver.isEmpty else { return }
        tell(
            Notice(
                pod: pod, isWarning: false, reason: "RedirectionFallback",
                message: "redirected by \(choice.mechanism): \(choice.reason)"))
    }

    /// Tells of a pod that has run without redirection until now.
    func tell(ofMissed pod: PodIdentity, by mechanism: String) {
        tell(
            Notice(
                pod: pod, isWarning: true, reason: "RedirectionLate",
                message: "started while the node's network did not call Swerve, and redirected "
                    + "by \(mechanism) from now on; connections it had go on around its sidecar "
                    + "until they end, or it is restarted"))
    }

    /// Tells of a pod that is not redirected as it should be.
    func tell(of refusal: AgentRefusal, _ pod: PodIdentity) {
        let remedy = refusal.error.remedy.map { " (\($0))" } ?? ""
        tell(
            Notice(
                pod: pod, isWarning: true, reason: "RedirectionRefused",
                message: refusal.error.message + remedy))
    }

    private func tell(_ notice: Notice) {
        guard notice.pod.namespace != nil, notice.pod.name != nil else { return }
        let isNews = state.withLock { state in
            if state.memory.take(notice.message, of: notice.topic, at: .now) { return true }
            state.counts.dropped += 1
            return false
        }
        guard isNews, case .dropped = writer.yield(notice) else { return }
        forget(notice)
    }

    private func forget(_ notice: Notice) {
        state.withLock { state in
            state.memory.forgetLast(of: notice.topic)
            state.counts.dropped += 1
        }
    }

    /// Sends what is told, until the task is canceled.
    func run() async {
        var allowed = Self.burst
        var last = ContinuousClock.now
        for await notice in notices {
            let now = ContinuousClock.now
            let earned = Int((now - last) / .seconds(1))
            if earned > 0 {
                allowed = min(Self.burst, allowed + earned)
                last = now
            }
            if allowed == 0 {
                try? await Task.sleep(for: .seconds(1))
                last = .now
            } else {
                allowed -= 1
            }
            await send(notice)
        }
    }

    private func send(_ notice: Notice) async {
        guard let namespace = notice.pod.namespace, let name = notice.pod.name else { return }
        do throws(KubernetesError) {
            try await client.create("events", in: namespace, json(notice, namespace, name))
            state.withLock { $0.counts.sent += 1 }
        } catch {
            forget(notice)
            logger.debug("\(namespace)/\(name): an event could not be told: \(error)")
        }
    }

    private func json(_ notice: Notice, _ namespace: String, _ name: String) -> JSON {
        let time = JSON.string(Date.now.ISO8601Format())
        return JSON(members: [
            "apiVersion": .string("v1"), "kind": .string("Event"),
            "metadata": JSON(members: [
                "generateName": .string(name + "."), "namespace": .string(namespace),
            ]),
            "involvedObject": JSON(members: [
                "apiVersion": .string("v1"), "kind": .string("Pod"),
                "namespace": .string(namespace), "name": .string(name),
                "uid": notice.pod.uid.map(JSON.string),
            ]),
            "type": .string(notice.isWarning ? "Warning" : "Normal"),
            "reason": .string(notice.reason),
            "message": .string(String(notice.message.prefix(Self.messageLimit))),
            "source": JSON(members: [
                "component": .string("swerved"), "host": .string(node),
            ]),
            "firstTimestamp": time, "lastTimestamp": time, "count": JSON(1),
        ])
    }
}
