// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// Runs what blocks on a thread of its own: tasks share few, and a server needs one to answer.
package func onThread<Value: Sendable>(
    _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
    }
}
