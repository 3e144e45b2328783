// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims
internal import SystemPackage

/// A lock between processes, flock(2): held until this goes, or the process does.
package final class FileLock: Sendable {
    private let descriptor: OwnedDescriptor

    private init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }

    /// Takes the lock of a directory, or of a file, which is made; `nil` while another has it.
    package static func tryTake(
        _ path: String, _ access: OwnedDescriptor.Access = .append
    ) throws(KernelError) -> FileLock? {
        let lock = FileLock(try .open(path, access, mode: 0o600))
        let status = clinux_lock(lock.descriptor.rawValue)
        if status == -Errno.wouldBlock.rawValue { return nil }
        try kernel("flock(\(path))") { status }
        return lock
    }

    /// Waits for the lock; who has waited for `patience` is told `EWOULDBLOCK`.
    ///
    /// A task that is canceled waits all the same: what it is in the middle of comes to its end.
    package static func take(
        _ path: String, _ access: OwnedDescriptor.Access = .append, within patience: Duration
    ) async throws(KernelError) -> FileLock {
        let deadline = ContinuousClock.now + patience
        while true {
            if let lock = try tryTake(path, access) { return lock }
            guard ContinuousClock.now < deadline else {
                throw KernelError(
                    "flock(\(path))", .wouldBlock,
                    detail: "another process has held the lock for \(patience)")
            }
            // flock(2) has no limit, and would block a thread that others need.
            await Task.detached { try? await Task.sleep(for: .milliseconds(20)) }.value
        }
    }
}
