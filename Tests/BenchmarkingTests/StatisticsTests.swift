// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Benchmarking

/// Medians, intervals and ratios.
struct StatisticsTests {
    @Test func `a median is the middle value, or the mean of the two in the middle`() {
        #expect(Sample([3, 1, 2]).median == 2)
        #expect(Sample([4, 1, 2, 3]).median == 2.5)
        #expect(Sample([7]).median == 7)
        #expect(Sample().median.isNaN)
    }

    @Test func `an interval is the same for the same seed, and lies around the median`() throws {
        let sample = Sample((1...51).map(Double.init))
        let interval = try #require(sample.medianInterval(seed: 1))
        #expect(interval == sample.medianInterval(seed: 1))
        #expect(interval != sample.medianInterval(resamples: 500, seed: 2))
        #expect(interval.contains(26))
        // The order statistics that bound a median of 51 values with 95 %: the 19th and the 33rd.
        #expect((17...21).contains(interval.lowerBound))
        #expect((31...35).contains(interval.upperBound))
    }

    @Test func `an interval covers the true median about 19 times of 20`() throws {
        var random = SplitMixForTests(state: 5)
        var covered = 0
        for trial in 0..<200 {
            let sample = Sample((0..<25).map { _ in Double.random(in: 0...1, using: &random) })
            let interval = try #require(
                sample.medianInterval(resamples: 400, seed: UInt64(trial)))
            if interval.contains(0.5) { covered += 1 }
        }
        #expect((175...199).contains(covered), "\(covered) of 200")
    }

    @Test func `what does not vary has an interval of no width, one value has none`() {
        #expect(Sample([2, 2, 2]).medianInterval(seed: 1) == 2...2)
        #expect(Sample([2]).medianInterval(seed: 1) == nil)
    }

    @Test func `a ratio is taken round by round, so that what drifts for both does not count`()
        throws
    {
        let baseline: [Double] = [10, 20, 40, 80, 160]
        let ratio = try #require(Ratio(baseline.map { $0 * 1.5 }, to: baseline, seed: 1))
        #expect((ratio.median, ratio.low, ratio.high) == (1.5, 1.5, 1.5))
        #expect(ratio.text == "1.50 (1.50-1.50)")
        #expect(Ratio([1, 2], to: [1], seed: 1) == nil)
        #expect(Ratio([], to: [], seed: 1) == nil)
        #expect(Ratio([3], to: [2], seed: 1)?.text == "1.50")
    }

    @Test(arguments: [
        (0.0412, "0.04"), (9.876, "9.88"), (12.34, "12.3"), (123.4, "123"), (3, "3"),
        (.nan, "-"),
    ])
    func `numbers have three digits or so`(number: Double, text: String) {
        #expect(number.short == text)
    }

    @Test(arguments: [(1, "1.00"), (0.994, "0.99"), (0.996, "1.00"), (12.055, "12.06")])
    func `ratios have two digits after the point`(number: Double, text: String) {
        #expect(number.hundredths == text)
    }

    @Test func `percentiles are those of all latencies`() throws {
        var latencies = Latencies()
        for value in 1...1000 { latencies.record(UInt64(value) * 1000) }
        let p50 = try #require(latencies.microseconds(atPercentile: 50))
        #expect(abs(p50 - 500) < 1)
        #expect(abs(try #require(latencies.microseconds(atPercentile: 99)) - 990) < 1)
        var copy = Latencies()
        copy.add(latencies.counts)
        #expect(copy.microseconds(atPercentile: 50) == p50)
        #expect(copy.count == 1000)
        #expect(Latencies().microseconds(atPercentile: 50) == nil)
    }

    @Test func `softirq time is the seventh number, in ticks`() {
        #expect(CPUTime.softirq("cpu  1 2 3 4 5 6 7 8\ncpu0 9 9 9 9 9 9 9 9\n") == 70_000)
        #expect(CPUTime.softirq("") == 0)
    }
}

/// A generator of the tests' own, so that what is tested does not test itself.
private struct SplitMixForTests: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return (state ^ (state >> 33)) &* 0xff51_afd7_ed55_8ccd
    }
}
