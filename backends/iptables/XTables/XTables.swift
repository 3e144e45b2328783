// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims
package import LinuxKernel
internal import Synchronization
internal import SystemPackage

/// What all users of legacy tables share: a library with a global, and a lock file.
package enum XTables {
    private static let library = Mutex(())

    /// Runs `body` while nothing else in this process is inside libiptc.
    package static func exclusively<Value: Sendable>(
        _ body: () throws(KernelError) -> Value
    ) throws(KernelError) -> Value {
        try library.withLock { (_) throws(KernelError) in try body() }
    }

    /// The lock that iptables(8) and its kin take before they touch a legacy table.
    package static let lockFile = "/run/xtables.lock"

    /// Takes the lock of `path`, and holds it for as long as the descriptor lives.
    ///
    /// A table is read, changed and written back; two writers who both read first would lose
    /// one's work. The kernel notices only when the number of rules differs (`EAGAIN`), so we
    /// take the lock that the stock tools take.
    package static func lock(
        _ path: String, waiting limit: Duration
    ) async throws(KernelError) -> OwnedDescriptor {
        let file = try OwnedDescriptor.open(path, .append, mode: 0o600)
        let deadline = ContinuousClock.now + limit
        while true {
            let status = clinux_lock(file.rawValue)
            if status == 0 { return file }
            guard status == -Errno.wouldBlock.rawValue, ContinuousClock.now < deadline else {
                throw KernelError(
                    "flock(\(path))", Errno(rawValue: -status),
                    detail: "another program has held the lock for \(limit)")
            }
            try? await Task.sleep(for: .milliseconds(20))
        }
    }
}
