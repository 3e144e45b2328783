// SPDX-License-Identifier: Apache-2.0

/// A subject in a scenario, round by round.
package struct Measurement: Sendable {
    package let subject: Subject
    package let scenario: Scenario
    package private(set) var rounds: [Round] = []
    package private(set) var latencies = Latencies()
    /// What became of all rounds' operations.
    package private(set) var counts = OperationCounts()
    /// Operations in each tenth of the time, all rounds together.
    package private(set) var tenths = [UInt64](repeating: 0, count: 10)
    private(set) var cpu = CPUTime()

    init(_ subject: Subject, _ scenario: Scenario) {
        self.subject = subject
        self.scenario = scenario
    }

    /// One turn.
    package struct Round: Codable, Sendable {
        /// The median latency in microseconds, where single operations are timed.
        package let latency: Double?
        /// Operations a second, or 10^9 bits.
        package let rate: Double
        /// User and system time of all who took part, in microseconds an operation or a megabyte.
        package let cpu: Double
    }

    mutating func add(_ result: LoadResult) {
        var own = Latencies()
        own.add(result.latencies)
        latencies.add(result.latencies)
        counts.add(result)
        cpu += result.cpu
        for (index, count) in result.tenths.prefix(10).enumerated() { tenths[index] += count }
        let seconds = Double(result.nanoseconds) / 1e9
        let isBulk = scenario.kind == .bulk
        rounds.append(
            Round(
                latency: scenario.hasLatency ? own.microseconds(atPercentile: 50) : nil,
                rate: isBulk
                    ? Double(result.bytes) * 8 / 1e9 / seconds
                    : Double(result.operations) / seconds,
                cpu: result.cpu.total / scenario.work(result.operations, result.bytes)))
    }

    /// Processor time of an operation, or of a megabyte of a stream.
    var cpuPerOperation: CPUTime { cpu / scenario.work(counts.operations, counts.bytes) }

    /// Throws where connections did not go where they should have: numbers would mean nothing.
    ///
    /// Churn is there to see whether any do not, so it reports them.
    func check() throws(BenchError) {
        guard scenario.kind != .churn else { return }
        let isRight =
            counts.escaped == 0 && counts.strayed == 0 && counts.operations > 0
            && counts.failed == 0
        guard isRight else {
            throw .wrongConnections(
                subject: subject.name, scenario: scenario.name, counts.description)
        }
    }
}

extension Scenario {
    /// How much was done, in what times are told of: operations, or megabytes.
    func work(_ operations: UInt64, _ bytes: UInt64) -> Double {
        max(1, kind == .bulk ? Double(bytes) / 1e6 : Double(operations))
    }
}

/// What became of operations.
package struct OperationCounts: Codable, Hashable, Sendable, CustomStringConvertible {
    package var operations: UInt64 = 0
    package var bytes: UInt64 = 0
    package var escaped: UInt64 = 0
    package var strayed: UInt64 = 0
    package var failed: UInt64 = 0
    /// The errno of the first that failed.
    package var firstError: Int32 = 0

    mutating func add(_ result: LoadResult) {
        operations += result.operations
        bytes += result.bytes
        escaped += result.escaped
        strayed += result.strayed
        if failed == 0 { firstError = result.firstError }
        failed += result.failed
    }

    package var description: String {
        let error = failed > 0 ? " (errno \(firstError))" : ""
        return
            "\(operations) done, \(escaped) escaped, \(strayed) strayed, \(failed) failed\(error)"
    }
}
