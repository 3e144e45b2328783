// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims

/// How many descriptors this process may have open.
package enum OpenFiles {
    /// Sets the limit, or the highest that may be had below it.
    @discardableResult
    package static func limit(to count: UInt64) throws(KernelError) -> Int64 {
        try kernel("setrlimit(RLIMIT_NOFILE)") { clinux_limit_files(count) }
    }

    /// As many as may be had: the usual 1024 are for programs that use select(2).
    @discardableResult
    package static func raiseLimit() throws(KernelError) -> Int64 { try limit(to: .max) }
}
