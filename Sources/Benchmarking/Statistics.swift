// SPDX-License-Identifier: Apache-2.0

internal import SeededRandom

/// Measured values of one kind, for their middle and their spread.
package struct Sample: Sendable {
    package private(set) var values: [Double]

    package init(_ values: [Double] = []) { self.values = values }

    package mutating func add(_ value: Double) { values.append(value) }

    /// The value that `fraction` of the others lie below, between neighbours by the nearest rank.
    package func quantile(_ fraction: Double) -> Double {
        let sorted = values.sorted()
        guard let last = sorted.indices.last else { return .nan }
        return sorted[min(last, Int((fraction * Double(sorted.count)).rounded(.down)))]
    }

    /// The middle value, or the mean of the two in the middle.
    package var median: Double { Self.median(of: values.sorted()) }

    private static func median(of sorted: [Double]) -> Double {
        guard !sorted.isEmpty else { return .nan }
        let middle = sorted.count / 2
        return sorted.count.isMultiple(of: 2)
            ? (sorted[middle - 1] + sorted[middle]) / 2 : sorted[middle]
    }

    /// `12.3 (11.9-12.8)`: the median, and between which values the middle half lies.
    package var text: String {
        "\(median.short) (\(quantile(0.25).short)-\(quantile(0.75).short))"
    }

    /// Where the median would lie, 19 times of 20, had the rounds turned out differently: the
    /// percentile bootstrap (Efron 1979), which assumes no distribution.
    ///
    /// With few values it says little: of two or three it is what lies between the least and the
    /// greatest.
    package func medianInterval(resamples: Int = 2000, seed: UInt64) -> ClosedRange<Double>? {
        guard values.count > 1 else { return nil }
        var random = SplitMix64(seed: seed)
        var resample = values
        let medians = (0..<resamples).map { _ in
            for index in resample.indices {
                resample[index] = values[Int.random(in: values.indices, using: &random)]
            }
            return Self.median(of: resample.sorted())
        }
        let sorted = medians.sorted()
        let last = Double(sorted.count - 1)
        return sorted[Int((0.025 * last).rounded())]...sorted[Int((0.975 * last).rounded())]
    }
}

/// How two things compare, round by round.
package struct Ratio: Codable, Hashable, Sendable {
    package let median: Double
    /// 95 %; `nil` for a single round.
    package let low: Double?
    package let high: Double?

    /// Of what was measured in the same rounds, pair by pair: what drifted, drifted for both.
    package init?(_ values: [Double], to baseline: [Double], seed: UInt64) {
        let ratios = Sample(zip(values, baseline).map(/).filter(\.isFinite))
        guard !ratios.values.isEmpty, values.count == baseline.count else { return nil }
        median = ratios.median
        let interval = ratios.medianInterval(seed: seed)
        low = interval?.lowerBound
        high = interval?.upperBound
    }

    /// `1.04 (1.02-1.06)`.
    package var text: String {
        guard let low, let high else { return median.hundredths }
        return "\(median.hundredths) (\(low.hundredths)-\(high.hundredths))"
    }
}

extension Double {
    /// Three digits or so: more would be noise.
    package var short: String {
        guard isFinite else { return "-" }
        let scale: Double = self < 10 ? 100 : self < 100 ? 10 : 1
        let text = "\((self * scale).rounded() / scale)"
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }

    /// Two digits after the point, always.
    package var hundredths: String {
        guard isFinite else { return "-" }
        let number = Int((self * 100).rounded())
        let rest = abs(number % 100)
        return "\(number < 0 ? "-" : "")\(abs(number / 100)).\(rest < 10 ? "0" : "")\(rest)"
    }
}
