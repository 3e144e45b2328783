// SPDX-License-Identifier: Apache-2.0

/// Numbers as Prometheus reads them: its text format, version 0.0.4.
struct MetricsText {
    enum Kind: String { case counter, gauge, histogram }

    struct Sample {
        /// What follows the family's name: `_bucket`.
        var suffix = ""
        let labels: [(name: String, value: String)]
        let value: String

        init(
            _ value: some CustomStringConvertible, suffix: String = "",
            _ labels: KeyValuePairs<String, String> = [:]
        ) {
            self.value = "\(value)"
            self.suffix = suffix
            self.labels = labels.map { ($0.key, $0.value) }
        }
    }

    static let type = "text/plain; version=0.0.4; charset=utf-8"

    private(set) var text = ""

    /// Adds a family of numbers; one without samples is not mentioned.
    mutating func add(_ name: String, _ kind: Kind, _ help: String, _ samples: [Sample]) {
        guard !samples.isEmpty else { return }
        text += "# HELP \(name) \(Self.escaped(help))\n# TYPE \(name) \(kind.rawValue)\n"
        for sample in samples {
            let labels = sample.labels
                .map { "\($0.name)=\"\(Self.escaped($0.value, quotes: true))\"" }
                .joined(separator: ",")
            text += name + sample.suffix + (labels.isEmpty ? "" : "{\(labels)}")
            text += " \(sample.value)\n"
        }
    }

    private static func escaped(_ text: String, quotes: Bool = false) -> String {
        text.unicodeScalars.reduce(into: "") { escaped, scalar in
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\n": escaped += "\\n"
            case "\"" where quotes: escaped += "\\\""
            default: escaped.unicodeScalars.append(scalar)
            }
        }
    }
}

/// How long something took, by how often it took at most so long.
struct Histogram {
    /// In seconds: a map entry takes one millisecond, a legacy table under a lock may take seconds.
    static let bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

    private var counts = [UInt64](repeating: 0, count: bounds.count + 1)
    private var sum = Duration.zero

    mutating func add(_ time: Duration) {
        let seconds = time / .seconds(1)
        let index = Self.bounds.firstIndex { seconds <= $0 } ?? Self.bounds.count
        counts[index] += 1
        sum += time
    }

    func samples(_ name: String, _ value: String) -> [MetricsText.Sample] {
        var total: UInt64 = 0
        var samples: [MetricsText.Sample] = []
        for (index, bound) in (Self.bounds.map { "\($0)" } + ["+Inf"]).enumerated() {
            total += counts[index]
            samples.append(.init(total, suffix: "_bucket", [name: value, "le": bound]))
        }
        samples.append(.init(sum / .seconds(1), suffix: "_sum", [name: value]))
        samples.append(.init(total, suffix: "_count", [name: value]))
        return samples
    }
}
