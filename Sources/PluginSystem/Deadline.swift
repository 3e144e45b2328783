// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims

/// A point in time that everything has to be done by, on the clock nobody sets.
package struct Deadline: Sendable {
    private let nanoseconds: UInt64

    package init(in duration: Duration) {
        let (seconds, attoseconds) = duration.components
        nanoseconds =
            clinux_monotonic_nanoseconds() + UInt64(max(0, seconds)) * 1_000_000_000
            + UInt64(max(0, attoseconds)) / 1_000_000_000
    }

    /// What is left, for poll(2): 0 when the time has come, else 1 or more.
    var milliseconds: CInt {
        let now = clinux_monotonic_nanoseconds()
        guard now < nanoseconds else { return 0 }
        return CInt(clamping: (nanoseconds - now) / 1_000_000 + 1)
    }
}
