// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel
internal import Synchronization

/// What all users of legacy tables share: a library with a global, and a lock file.
package enum XTables {
    private static let library = Mutex(())

    /// Runs `body` while nothing else in this process is inside libiptc.
    package static func exclusively<Value: Sendable>(
        _ body: () throws(KernelError) -> Value
    ) throws(KernelError) -> Value {
        try library.withLock { (_) throws(KernelError) in try body() }
    }

    /// What iptables(8) and its kin lock before they touch a legacy table.
    ///
    /// A table is read, changed and written back; two writers who both read first would lose
    /// one's work. The kernel notices only when the number of rules differs (`EAGAIN`), so we
    /// take the lock that the stock tools take.
    package static let lockFile = "/run/xtables.lock"
}
