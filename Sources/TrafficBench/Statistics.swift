// SPDX-License-Identifier: Apache-2.0

/// Measured values of one kind, for their middle and their spread.
struct Sample: Sendable {
    private(set) var values: [Double]

    init(_ values: [Double] = []) { self.values = values }

    mutating func add(_ value: Double) { values.append(value) }

    /// The value that `fraction` of the others lie below, between neighbours by the nearest rank.
    func quantile(_ fraction: Double) -> Double {
        let sorted = values.sorted()
        guard let last = sorted.indices.last else { return .nan }
        return sorted[min(last, Int((fraction * Double(sorted.count)).rounded(.down)))]
    }

    var median: Double { quantile(0.5) }

    /// `12.3 (11.9-12.8)`: the median, and between which values the middle half lies.
    var text: String {
        "\(median.short) (\(quantile(0.25).short)-\(quantile(0.75).short))"
    }
}

extension Double {
    /// Three digits or so: more would be noise.
    var short: String {
        guard isFinite else { return "-" }
        let scale: Double = self < 10 ? 100 : self < 100 ? 10 : 1
        let text = "\((self * scale).rounded() / scale)"
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }
}
