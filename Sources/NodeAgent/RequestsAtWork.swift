// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// How many requests are being worked on, also for those who have not waited for the answer.
final class RequestsAtWork: Sendable {
    private let number = Mutex(0)

    var count: Int { number.withLock(\.self) }

    func work<Value>(_ body: () async -> Value) async -> Value {
        number.withLock { $0 += 1 }
        defer { number.withLock { $0 -= 1 } }
        return await body()
    }

    /// Waits until none is left, also in a task that has been canceled; false when that takes longer.
    func finish(within patience: Duration) async -> Bool {
        let deadline = ContinuousClock.now + patience
        while count > 0 {
            guard ContinuousClock.now < deadline else { return false }
            await Task.detached { try? await Task.sleep(for: .milliseconds(20)) }.value
        }
        return true
    }
}
