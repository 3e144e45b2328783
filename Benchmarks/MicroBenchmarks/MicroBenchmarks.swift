// SPDX-License-Identifier: Apache-2.0

import Benchmark
import MicroBenchmarking

/// The time to that of the reference, in thousandths: what the thresholds are of.
///
/// Both are timed in turn, so that it is nearly the same on any machine, and beside any load.
private let ratio = BenchmarkMetric.custom(
    "time to reference in thousandths", polarity: .prefersSmaller, useScalingFactor: false)

/// The shortest of a few: whoever was interrupted was so once, seldom each time.
private func shortest(
    of count: Int, _ work: MicroBenchmark
) async throws -> ContinuousClock.Duration {
    var least = ContinuousClock.Duration.seconds(3600)
    for _ in 0..<count {
        let start = ContinuousClock.now
        blackHole(try await work.run())
        least = min(least, start.duration(to: .now))
    }
    return least
}

let benchmarks: @Sendable () -> Void = {
    Benchmark.defaultConfiguration = .init(
        metrics: [ratio], maxDuration: .seconds(3), maxIterations: 50,
        thresholds: [ratio: BenchmarkThresholds(relative: [.p90: 50])])
    do {
        for piece in try MicroBenchmark.all() {
            Benchmark(piece.name) { benchmark in
                let reference = try await shortest(of: 10, .reference)
                let own = try await shortest(of: 10, piece)
                benchmark.measurement(ratio, Int((own / reference * 1000).rounded()))
            }
        }
    } catch {
        fatalError("what is to be measured cannot be made: \(error)")
    }
}
