// SPDX-License-Identifier: Apache-2.0

internal import EBPFBackend
internal import LinuxKernel
package import RedirectionModel

/// What one BPF program takes of a connection, by the kernel's own statistics.
package struct ProgramTime: Codable, Sendable {
    package let subject: String
    package let direction: Direction
    package let program: String
    package let runsPerConnection: Double
    package let nanosecondsPerRun: Double

    package var nanosecondsPerConnection: Double { runsPerConnection * nanosecondsPerRun }
}

extension Scenario {
    /// Connecting is what costs programs time; one family and one place show where it goes.
    var hasProgramTimes: Bool { kind == .connect && family == .ipv4 && topology == .same }
}

extension Stage {
    /// Connects once more while the kernel counts; empty where nothing is eBPF's.
    ///
    /// Counting slows programs down, so it is on in no measurement.
    func programTimes(
        in scenario: Scenario, for duration: Duration
    ) async throws -> [ProgramTime] {
        guard let backend = backend as? EBPFBackend else { return [] }
        let counting = try EBPFBackend.countRuns()
        let before = try await backend.runs()
        let result = try measure(scenario, for: duration)
        let after = try await backend.runs()
        withExtendedLifetime(consume counting) {}
        var measurement = Measurement(subject, scenario)
        measurement.add(result)
        try measurement.check()
        let connections = Double(max(1, result.operations + result.warmUp))
        return zip(before, after).compactMap { earlier, later in
            let runs = Double(later.runs - earlier.runs)
            guard runs > 0 else { return nil }
            return ProgramTime(
                subject: subject.name, direction: scenario.direction, program: later.name,
                runsPerConnection: runs / connections,
                nanosecondsPerRun: Double(later.nanoseconds - earlier.nanoseconds) / runs)
        }
    }
}
