// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import SystemPackage

/// Waits for a condition, for as long as two minutes.
package func waitUntil(_ condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(120)
    repeat {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(10))
    } while ContinuousClock.now < deadline
    throw KernelError("wait for a condition", .timedOut)
}
