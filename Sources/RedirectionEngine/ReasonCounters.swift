// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// How often each row of the verdict table has decided, by the table it stands in.
///
/// The table is `RedirectionPlan.table(for:)`: what arrives from behind a virtual interface is
/// counted as outbound. A row that has not decided is zero, whether or not anything counts it.
package struct ReasonCounters: Hashable, Sendable {
    /// Only what is not zero, so that equal counts are equal values.
    private var counts: [Row: UInt64] = [:]

    private struct Row: Hashable {
        let direction: Direction
        let reason: Reason
    }

    package init() {}

    package subscript(direction: Direction, reason: Reason) -> UInt64 {
        get { counts[Row(direction: direction, reason: reason)] ?? 0 }
        set {
            counts[Row(direction: direction, reason: reason)] = newValue == 0 ? nil : newValue
        }
    }

    /// The reason's count in both tables.
    package subscript(reason: Reason) -> UInt64 {
        self[.outbound, reason] + self[.inbound, reason]
    }

    /// What is not zero, in the order of the tables.
    package var rows: [(direction: Direction, reason: Reason, count: UInt64)] {
        Direction.allCases.flatMap { direction in
            Reason.allCases.map { (direction, $0, self[direction, $0]) }
        }.filter { $0.count > 0 }
    }
}
