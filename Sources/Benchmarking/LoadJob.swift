// SPDX-License-Identifier: Apache-2.0

internal import CTrafficLoad
internal import FoundationEssentials
internal import Histogram
package import LinuxKernel
internal import RedirectionModel

/// Who accepts a connection: the byte that a client is greeted with.
enum Acceptor: String, Codable, Sendable {
    case server
    case sidecar
    /// The sidecar that the client has dialed itself.
    case dialedSidecar

    var byte: tload_accepted {
        switch self {
        case .server: TLOAD_BY_SERVER
        case .sidecar: TLOAD_BY_SIDECAR
        case .dialedSidecar: TLOAD_BY_SIDECAR_DIALED
        }
    }
}

/// What a process of its own is to do, and to measure while it does.
package struct LoadJob: Codable, Sendable {
    let scenario: Scenario
    let address: IPAddress
    let port: UInt16
    let acceptor: Acceptor
    let nanoseconds: UInt64
    let cpu: UInt32
    /// How many seconds a peer may take before that is a failure.
    let patience: UInt32
    /// Who opens the sockets.
    let uid: UInt32
    /// Whether it is done for a moment before, and that not measured: caches, routes, and pages fill.
    var warmsUp = true
    /// The cgroups whose processor time counts: the client's own, the sidecar's, the server's.
    let cgroups: [String]

    /// More are counted and not timed.
    private static let latenciesKept: UInt32 = 1 << 21
    private static let warmUp: UInt64 = 30_000_000

    /// Does it in this process.
    package func run() throws(KernelError) -> LoadResult {
        try kernel("sched_setaffinity(\(cpu))") { tload_pin(cpu) }
        tload_be_patient(patience)
        try become(Owner(uid: uid, gid: uid))
        try kernel("malloc") { tload_prepare(Self.latenciesKept) }
        let warmUp = warmsUp ? perform(for: Self.warmUp).operations : 0
        let before = try CPUTime.now(of: cgroups)
        let outcome = perform(for: nanoseconds)
        let used = try CPUTime.now(of: cgroups) - before
        return LoadResult(outcome, used, warmUp: warmUp)
    }

    private func perform(for nanoseconds: UInt64) -> tload_outcome {
        // A sidecar that dials on is followed by the server's own greeting.
        let dialsOn = acceptor != .server && [.request, .bulk].contains(scenario.kind)
        let target = tload_target(
            address: address.number, port: port, expected: acceptor.byte, to_server: dialsOn)
        return switch scenario.kind {
        case .connect: tload_connect(target, nanoseconds, false)
        case .churn: tload_connect(target, nanoseconds, true)
        case .request:
            tload_request(
                target, nanoseconds, UInt32(scenario.size), UInt32(scenario.connections))
        case .bulk: tload_stream(target, nanoseconds)
        case .dns: tload_lookup(target, nanoseconds)
        }
    }
}

extension IPAddress {
    /// As the load has it.
    var number: tload_address {
        tload_address(
            high: UInt64(truncatingIfNeeded: bits >> 64), low: UInt64(truncatingIfNeeded: bits))
    }
}

/// What came of a load.
package struct LoadResult: Codable, Sendable {
    var nanoseconds: UInt64
    var operations: UInt64
    var bytes: UInt64
    /// Connections that a server accepted where the sidecar should have.
    var escaped: UInt64
    /// Those that a sidecar accepted who knew of another origin, or of none.
    var strayed: UInt64
    var failed: UInt64
    var firstError: Int32
    /// Latencies in nanoseconds, to three digits, and how many there were of each.
    var latencies: [LatencyCount]
    /// Operations in each tenth of the time.
    var tenths: [UInt64]
    var cpu: CPUTime
    /// What was done before, and is in nothing above.
    var warmUp: UInt64 = 0
}

extension LoadResult {
    init(_ outcome: tload_outcome, _ cpu: CPUTime, warmUp: UInt64) {
        var latencies = Latencies()
        for index in 0..<tload_latencies() { latencies.record(UInt64(tload_latency(index))) }
        self.init(
            nanoseconds: outcome.nanoseconds, operations: outcome.operations, bytes: outcome.bytes,
            escaped: outcome.escaped, strayed: outcome.strayed, failed: outcome.failed,
            firstError: outcome.first_error, latencies: latencies.counts,
            tenths: (0..<10).map { tload_tenth($0) }, cpu: cpu, warmUp: warmUp)
    }
}

/// A latency in nanoseconds, and how many operations took that long.
struct LatencyCount: Codable, Sendable {
    let value: UInt64
    let count: UInt64
}

/// The distribution of latencies in nanoseconds, in buckets of three digits.
package struct Latencies: Sendable {
    /// Up to 10 seconds: what takes longer counts as that.
    private var histogram = Histogram<UInt64>(
        lowestDiscernibleValue: 1, highestTrackableValue: 10_000_000_000,
        numberOfSignificantValueDigits: .three)

    package init() {}

    mutating func record(_ nanoseconds: UInt64, count: UInt64 = 1) {
        _ = histogram.record(min(nanoseconds, 10_000_000_000), count: count)
    }

    mutating func add(_ counts: [LatencyCount]) {
        for one in counts { record(one.value, count: one.count) }
    }

    var counts: [LatencyCount] {
        histogram.recordedValues().map { LatencyCount(value: $0.value, count: $0.count) }
    }

    package var count: UInt64 { histogram.totalCount }

    /// In microseconds; `nil` where nothing was timed.
    package func microseconds(atPercentile percentile: Double) -> Double? {
        guard count > 0 else { return nil }
        return Double(histogram.valueAtPercentile(percentile)) / 1000
    }
}
