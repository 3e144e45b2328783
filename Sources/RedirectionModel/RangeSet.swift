// SPDX-License-Identifier: Apache-2.0

/// A set of numbers, held as the fewest ranges that cover it, in order.
package struct RangeSet<Bound: FixedWidthInteger & UnsignedInteger & Sendable>: Hashable, Sendable {
    /// Disjoint, ascending, and never adjacent to each other.
    package let ranges: [ClosedRange<Bound>]

    package init(_ ranges: some Sequence<ClosedRange<Bound>>) {
        var merged: [ClosedRange<Bound>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            guard let last = merged.last, last.touches(range) else {
                merged.append(range)
                continue
            }
            let upper = max(last.upperBound, range.upperBound)
            merged[merged.count - 1] = last.lowerBound...upper
        }
        self.ranges = merged
    }

    package init(values: some Sequence<Bound>) { self.init(values.map { $0...$0 }) }

    package var isEmpty: Bool { ranges.isEmpty }

    /// The lowest number in it.
    package var first: Bound? { ranges.first?.lowerBound }

    package func contains(_ value: Bound) -> Bool {
        // The first range that does not end before the value is the only one that can hold it.
        var low = 0
        var high = ranges.count
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound < value { low = middle + 1 } else { high = middle }
        }
        return low < ranges.count && ranges[low].contains(value)
    }

    package func union(_ other: RangeSet) -> RangeSet { RangeSet(ranges + other.ranges) }

    package func subtracting(_ other: RangeSet) -> RangeSet {
        let holes = other.ranges
        // Both are in order, so one look at each hole does; a pod's annotations may list thousands.
        var next = 0
        var rest: [ClosedRange<Bound>] = []
        for range in ranges {
            var left: ClosedRange<Bound>? = range
            while next < holes.count, holes[next].upperBound < range.lowerBound { next += 1 }
            while let part = left, next < holes.count, holes[next].lowerBound <= part.upperBound {
                let hole = holes[next]
                if part.lowerBound < hole.lowerBound {
                    rest.append(part.lowerBound...(hole.lowerBound - 1))
                }
                // It may reach into the next range, so it stays.
                guard hole.upperBound < part.upperBound else {
                    left = nil
                    break
                }
                left = (hole.upperBound + 1)...part.upperBound
                next += 1
            }
            if let left { rest.append(left) }
        }
        return RangeSet(rest)
    }
}

/// Transport ports.
package typealias PortSet = RangeSet<UInt16>
/// User or group ids.
package typealias IDSet = RangeSet<UInt32>

extension RangeSet: ExpressibleByArrayLiteral {
    package init(arrayLiteral values: Bound...) { self.init(values: values) }
}

extension RangeSet: LosslessStringConvertible {
    /// `80,443,8000-8100`.
    package var description: String {
        ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
            .joined(separator: ",")
    }

    /// Reads the form `description` writes, and no other.
    package init?(_ text: String) {
        var ranges: [ClosedRange<Bound>] = []
        for part in text.isEmpty ? [] : text.split(separator: ",", omittingEmptySubsequences: false)
        {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false)
                .map { Bound($0) }
            guard let first = ends.first, let lower = first, ends.count <= 2,
                let last = ends.last, let upper = last, lower <= upper
            else { return nil }
            ranges.append(lower...upper)
        }
        self.init(ranges)
        guard description == text else { return nil }
    }
}

extension ClosedRange where Bound: FixedWidthInteger {
    /// True when no number lies between this range's end and the start of `next`.
    fileprivate func touches(_ next: ClosedRange) -> Bool {
        next.lowerBound <= upperBound || next.lowerBound - upperBound == 1
    }
}
