// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// What could not be cleaned up on cancellation: handlers cannot throw, and the task they
/// belong to may never get to say it before the process ends.
package enum InterruptFailures {
    private static let failures = Mutex<[LabError]>([])

    package static var all: [LabError] { failures.withLock(\.self) }

    /// Runs a cancellation handler's work, and keeps its failure.
    static func collect(_ body: () throws(LabError) -> Void) {
        do throws(LabError) {
            try body()
        } catch {
            failures.withLock { $0.append(error) }
        }
    }
}
