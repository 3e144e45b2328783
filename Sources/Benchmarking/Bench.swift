// SPDX-License-Identifier: Apache-2.0

internal import Backends
internal import Lab
internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel
internal import SeededRandom

/// What a run has found.
package struct BenchResults: Sendable {
    let measurements: [Measurement]
    /// What each of the eBPF programs takes of a connection.
    var programs: [ProgramTime] = []
    var skipped: [SkippedSubject] = []
    /// Where client, sidecar and server ran.
    var placement = ""
}

/// Where a run has got to.
package struct BenchProgress: Hashable, Sendable {
    package let step: String
    package let detail: String

    init(_ step: String, _ detail: String) {
        self.step = step
        self.detail = detail
    }
}

/// Measures subjects side by side: every scenario in rounds, every round through all subjects.
///
/// The order within a round is drawn anew each time, from the seed: who comes first finds other
/// caches than who comes last.
package struct Bench: Sendable {
    package var subjects: [Subject]
    package var scenarios: [Scenario]
    package var rounds: Int
    /// How long each measurement takes.
    package var duration: Duration
    package var seed: UInt64
    /// The processors to use; as many as the process may, where none are given.
    package var cpus: [UInt32]
    /// How many seconds a peer may take before a connection has failed.
    package var patience: UInt32

    package init(
        subjects: [Subject], scenarios: [Scenario], rounds: Int, duration: Duration, seed: UInt64,
        cpus: [UInt32] = [], patience: UInt32 = 5
    ) {
        self.subjects = subjects
        self.scenarios = scenarios
        self.rounds = rounds
        self.duration = duration
        self.seed = seed
        self.cpus = cpus
        self.patience = patience
    }

    /// Runs everything; what it makes is gone when it returns, throws or is canceled.
    package func run(
        progress: @escaping @Sendable (BenchProgress) -> Void
    ) async throws -> BenchResults {
        try await onStage(progress: progress) { setting in
            let stages = setting.stages
            let measurements = try measure(stages, progress: progress)
            var programs: [ProgramTime] = []
            for scenario in scenarios where scenario.kind == .connect {
                for stage in distinct(stages, scenario.direction) {
                    progress(BenchProgress("programs, \(scenario.name)", stage.subject.name))
                    programs += try await stage.programTimes(in: scenario, for: duration)
                }
            }
            return BenchResults(
                measurements: measurements, programs: programs, skipped: setting.skipped,
                placement: setting.cpus.description)
        }
    }

    /// Those that differ from each other in this direction.
    private func distinct(_ stages: [Stage], _ direction: Direction) -> [Stage] {
        let subjects = stages.map(\.subject)
        return stages.filter { $0.subject.isDistinct(direction, among: subjects) }
    }

    /// Measures what has been set up.
    func measure(
        _ stages: [Stage], progress: @Sendable (BenchProgress) -> Void
    ) throws -> [Measurement] {
        var random = SplitMix64(seed: seed)
        var measurements: [Measurement] = []
        for scenario in scenarios {
            let stages = distinct(stages, scenario.direction)
            var found = stages.map { Measurement($0.subject, scenario) }
            for round in 1...rounds {
                for index in stages.indices.shuffled(using: &random) {
                    let stage = stages[index]
                    let turn = "round \(round) of \(rounds), \(stage.subject.name)"
                    progress(BenchProgress(scenario.name, turn))
                    found[index].add(try stage.measure(scenario, for: duration))
                }
            }
            for measurement in found { try measurement.check() }
            measurements += found
        }
        return measurements
    }

    /// What has been set up, and what this kernel does not have.
    struct Setting {
        var stages: [Stage] = []
        let skipped: [SkippedSubject]
        let cpus: Stage.CPUChoice
    }

    /// Sets everything up for `body`, within a guard that removes it whatever happens.
    func onStage<Value: Sendable>(
        progress: @Sendable (BenchProgress) -> Void,
        _ body: (Setting) async throws -> Value
    ) async throws -> Value {
        // Two descriptors for each pod. Fewer may do; what cannot be opened then is told.
        _ = try? OpenFiles.raiseLimit()
        let skipped = SkippedSubject.among(subjects)
        let subjects = subjects.filter { !skipped.map(\.subject).contains($0.name) }
        guard !subjects.isEmpty else { throw BenchError.nothingToMeasure(skipped) }
        let executable = LabConfiguration.ownExecutable
        return try await Lab.guarded(.run, by: executable) { identity in
            let cgroup = try identity.cgroup()
            let cpus = Stage.CPUChoice(numbers: try cpus.isEmpty ? Self.allowedCPUs() : cpus)
            var setting = Setting(skipped: skipped, cpus: cpus)
            var podCount = 0
            for subject in subjects {
                progress(BenchProgress("setting up", subject.name))
                setting.stages.append(
                    try await Stage.build(
                        subject, in: cgroup, firstPod: podCount,
                        processes: BenchProcess(executable: executable), cpus: cpus,
                        patience: patience, lockFile: identity.directory + "/xtables.lock"))
                podCount += max(1, subject.podCount)
            }
            return try await body(setting)
        }
    }

    /// The processors this process may run on.
    private static func allowedCPUs() throws(KernelError) -> [UInt32] {
        let status = try readFile("/proc/self/status")
        let line = status.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed_list:") }
        let list = line?.split(separator: ":").last?.filter { !$0.isWhitespace } ?? "0"
        let numbers = RangeSet<UInt32>(list)?.ranges.flatMap(Array.init) ?? []
        return numbers.isEmpty ? [0] : numbers
    }
}
