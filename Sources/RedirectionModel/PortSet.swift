// SPDX-License-Identifier: Apache-2.0

/// A set of ports, held as the fewest ranges that cover it, in order.
package struct PortSet: Hashable, Sendable {
    /// Disjoint, ascending, and never adjacent to each other.
    package let ranges: [ClosedRange<UInt16>]

    package init(_ ranges: some Sequence<ClosedRange<UInt16>>) {
        var merged: [ClosedRange<UInt16>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            guard let last = merged.last, Int(range.lowerBound) <= Int(last.upperBound) + 1 else {
                merged.append(range)
                continue
            }
            let upper = max(last.upperBound, range.upperBound)
            merged[merged.count - 1] = last.lowerBound...upper
        }
        self.ranges = merged
    }

    package init(ports: some Sequence<UInt16>) { self.init(ports.map { $0...$0 }) }

    package var isEmpty: Bool { ranges.isEmpty }

    package func contains(_ port: UInt16) -> Bool {
        // The first range that does not end before the port is the only one that can hold it.
        var low = 0
        var high = ranges.count
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound < port { low = middle + 1 } else { high = middle }
        }
        return low < ranges.count && ranges[low].contains(port)
    }

    package func union(_ other: PortSet) -> PortSet { PortSet(ranges + other.ranges) }
}

extension PortSet: ExpressibleByArrayLiteral {
    package init(arrayLiteral ports: UInt16...) { self.init(ports: ports) }
}

extension PortSet: CustomStringConvertible {
    package var description: String {
        ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
            .joined(separator: ",")
    }
}
