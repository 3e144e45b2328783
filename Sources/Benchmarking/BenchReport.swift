// SPDX-License-Identifier: Apache-2.0

/// A run, as it is shown and kept.
package struct BenchReport: Codable, Sendable {
    package let version: String
    package let command: [String]
    package let machine: MachineDescription
    /// Which processors client, sidecar and server ran on.
    package let placement: String
    /// What was asked for and this kernel does not have.
    package let skipped: [SkippedSubject]
    package let rounds: Int
    package let seconds: Double
    package let seed: UInt64
    package let rows: [Row]
    /// What the eBPF programs took of it, where that was asked for.
    package let programs: [ProgramTime]
    /// What was measured besides.
    package var tables: [ReportTable] = []

    /// A subject in a scenario.
    package struct Row: Codable, Sendable {
        package let scenario: Scenario
        package let name: String
        package let subject: String
        package let counts: OperationCounts
        package let rounds: [Measurement.Round]
        /// Microseconds, of all rounds' operations together.
        package let percentiles: Percentiles?
        /// The medians of the rounds.
        package let latency: Double?
        package let rate: Double
        package let rateUnit: String
        let cpu: CPUTime
        /// Operations of each tenth of the time, to those of the first.
        package let course: [Double]
        package let toManual: Comparison?
        package let toDirect: Comparison?
        /// Points of the latencies' distribution, for a plot.
        let distribution: [Point]
    }

    package struct Percentiles: Codable, Sendable {
        package let p50: Double
        package let p90: Double
        package let p99: Double
        package let p999: Double
    }

    /// Below 1, a latency and processor time are better; above 1, a rate is.
    package struct Comparison: Codable, Sendable {
        package let latency: Ratio?
        package let rate: Ratio?
        package let cpu: Ratio?
    }

    struct Point: Codable, Sendable {
        let percentile: Double
        let microseconds: Double
    }

    package init(
        _ bench: Bench, _ results: BenchResults, on machine: MachineDescription,
        version: String, command: [String]
    ) {
        self.version = version
        self.command = command
        self.machine = machine
        placement = results.placement
        skipped = results.skipped
        rounds = bench.rounds
        seconds = bench.duration.milliseconds / 1000
        seed = bench.seed
        programs = results.programs
        let measurements = results.measurements
        rows = measurements.map { measurement in
            func baseline(_ name: String) -> Measurement? {
                measurements.first {
                    $0.subject.name == name && $0.scenario == measurement.scenario
                }
            }
            return Row(
                measurement, manual: baseline("manual"), direct: baseline("direct"),
                seed: bench.seed)
        }
    }
}

extension BenchReport.Row {
    init(_ measurement: Measurement, manual: Measurement?, direct: Measurement?, seed: UInt64) {
        scenario = measurement.scenario
        name = measurement.scenario.name
        subject = measurement.subject.name
        counts = measurement.counts
        rounds = measurement.rounds
        latency = measurement.medianLatency
        rate = measurement.medianRate
        rateUnit = measurement.scenario.rateUnit
        cpu = measurement.cpuPerOperation
        percentiles = BenchReport.Percentiles(measurement)
        toManual = BenchReport.Comparison(measurement, to: manual, seed: seed)
        toDirect = BenchReport.Comparison(measurement, to: direct, seed: seed)
        let first = Double(measurement.tenths.first ?? 0)
        course = first > 0 ? measurement.tenths.map { Double($0) / first } : []
        distribution = measurement.scenario.hasLatency ? Self.distribution(measurement) : []
    }

    /// Even steps up to the median, then nine a decade of what is slower.
    private static func distribution(_ measurement: Measurement) -> [BenchReport.Point] {
        let lower = stride(from: 0.0, to: 50, by: 5).map(\.self)
        let upper = [50.0, 60, 70, 80, 85, 90, 92.5, 95, 97, 98, 99, 99.3, 99.5, 99.7, 99.9, 99.99]
        return (lower + upper).compactMap { percentile in
            measurement.latencies.microseconds(atPercentile: percentile).map {
                BenchReport.Point(percentile: percentile, microseconds: $0)
            }
        }
    }
}

extension BenchReport.Percentiles {
    init?(_ measurement: Measurement) {
        let latencies = measurement.latencies
        guard measurement.scenario.hasLatency,
            let p50 = latencies.microseconds(atPercentile: 50),
            let p90 = latencies.microseconds(atPercentile: 90),
            let p99 = latencies.microseconds(atPercentile: 99),
            let p999 = latencies.microseconds(atPercentile: 99.9)
        else { return nil }
        self.init(p50: p50, p90: p90, p99: p99, p999: p999)
    }
}

extension BenchReport.Comparison {
    init?(_ measurement: Measurement, to baseline: Measurement?, seed: UInt64) {
        guard let baseline, baseline.subject != measurement.subject else { return nil }
        latency = Ratio(
            measurement.rounds.compactMap(\.latency), to: baseline.rounds.compactMap(\.latency),
            seed: seed)
        rate = Ratio(measurement.rounds.map(\.rate), to: baseline.rounds.map(\.rate), seed: seed)
        cpu = Ratio(measurement.rounds.map(\.cpu), to: baseline.rounds.map(\.cpu), seed: seed)
    }
}

extension Measurement {
    /// The median of the rounds' medians, in microseconds.
    package var medianLatency: Double? {
        let values = rounds.compactMap(\.latency)
        return values.isEmpty ? nil : Sample(values).median
    }

    /// The median of the rounds' rates.
    var medianRate: Double { Sample(rounds.map(\.rate)).median }
}
