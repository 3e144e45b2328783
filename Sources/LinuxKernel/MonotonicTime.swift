// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims

/// The time BPF programs stamp entries with: nanoseconds of CLOCK_MONOTONIC, clock_gettime(2).
package func monotonicNanoseconds() -> UInt64 { clinux_monotonic_nanoseconds() }

/// Blocks the calling thread for a while.
package func pause(_ duration: Duration) {
    _ = clinux_poll_input(-1, CInt(clamping: Int64(duration / .milliseconds(1))))
}
