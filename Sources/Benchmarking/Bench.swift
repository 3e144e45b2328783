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
    /// How long one of churn takes, and in how many rounds: ports must come round.
    package var churnDuration: Duration
    package var churnRounds: Int
    package var seed: UInt64
    /// The processors to use; as many as the process may, where none are given.
    package var cpus: [UInt32]
    /// How many seconds a peer may take before a connection has failed.
    package var patience: UInt32

    package init(
        subjects: [Subject], scenarios: [Scenario], rounds: Int, duration: Duration, seed: UInt64,
        churnDuration: Duration? = nil, churnRounds: Int? = nil, cpus: [UInt32] = [],
        patience: UInt32 = 5
    ) {
        self.subjects = subjects
        self.scenarios = scenarios
        self.rounds = rounds
        self.duration = duration
        self.churnDuration = churnDuration ?? duration * 5
        self.churnRounds = churnRounds ?? rounds
        self.seed = seed
        self.cpus = cpus
        self.patience = patience
    }

    /// Runs everything; what it makes is gone when it returns, throws or is canceled.
    package func run(
        progress: @escaping @Sendable (BenchProgress) -> Void
    ) async throws -> BenchResults {
        try await onStage(progress: progress) { setting in
            let measurements = try measure(setting.stages, progress: progress)
            var programs: [ProgramTime] = []
            for scenario in scenarios where scenario.hasProgramTimes {
                for stage in stages(of: scenario, setting.stages) {
                    progress(BenchProgress("programs, \(scenario.name)", stage.subject.name))
                    programs += try await stage.programTimes(in: scenario, for: duration)
                }
            }
            return BenchResults(
                measurements: measurements, programs: programs, skipped: setting.skipped,
                placement: setting.site.cpus.description)
        }
    }

    /// Those of the scenario's place and family that differ from each other in its direction.
    private func stages(of scenario: Scenario, _ stages: [Stage]) -> [Stage] {
        let subjects = stages.map(\.subject)
        return stages.filter {
            $0.topology == scenario.topology && $0.subject.families.contains(scenario.family)
                && $0.subject.isDistinct(scenario.direction, among: subjects)
        }
    }

    private func rounds(of scenario: Scenario) -> Int {
        scenario.kind == .churn ? churnRounds : rounds
    }

    private func duration(of scenario: Scenario) -> Duration {
        scenario.kind == .churn ? churnDuration : duration
    }

    /// By what the order within rounds is drawn.
    var order: SplitMix64 { SplitMix64(seed: seed) }

    /// Measures what has been set up.
    func measure(
        _ stages: [Stage], progress: @Sendable (BenchProgress) -> Void
    ) throws -> [Measurement] {
        var random = order
        var measurements: [Measurement] = []
        for scenario in scenarios {
            measurements += try measure(scenario, on: stages, &random, progress)
        }
        return measurements
    }

    /// Measures one scenario.
    func measure(
        _ scenario: Scenario, on stages: [Stage], _ random: inout SplitMix64,
        _ progress: @Sendable (BenchProgress) -> Void
    ) throws -> [Measurement] {
        let stages = self.stages(of: scenario, stages)
        let rounds = rounds(of: scenario)
        var found = stages.map { Measurement($0.subject, scenario) }
        for round in 1...rounds {
            for index in stages.indices.shuffled(using: &random) {
                let stage = stages[index]
                let turn = "round \(round) of \(rounds), \(stage.subject.name)"
                progress(BenchProgress(scenario.name, turn))
                found[index].add(try stage.measure(scenario, for: duration(of: scenario)))
            }
        }
        for measurement in found { try measurement.check() }
        return found
    }

    /// What has been set up, and what this kernel does not have.
    struct Setting {
        var stages: [Stage] = []
        let skipped: [SkippedSubject]
        let site: Stage.Site
        /// The number of a pod that there is not yet.
        var nextPod = 0
    }

    /// Sets everything up for `body`, within a guard that removes it whatever happens.
    func onStage<Value: Sendable>(
        progress: @Sendable (BenchProgress) -> Void,
        _ body: (inout Setting) async throws -> Value
    ) async throws -> Value {
        // A descriptor or two for each pod. Fewer may do; what cannot be opened then is told.
        _ = try? OpenFiles.raiseLimit()
        let skipped = SkippedSubject.among(subjects)
        let subjects = subjects.filter { !skipped.map(\.subject).contains($0.name) }
        guard !subjects.isEmpty || self.subjects.isEmpty else {
            throw BenchError.nothingToMeasure(skipped)
        }
        let executable = LabConfiguration.ownExecutable
        return try await Lab.guarded(.run, by: executable) { identity in
            let site = Stage.Site(
                cgroup: try identity.cgroup(), processes: BenchProcess(executable: executable),
                cpus: Stage.CPUChoice(numbers: try cpus.isEmpty ? Self.allowedCPUs() : cpus),
                patience: patience, lockFile: identity.directory + "/xtables.lock")
            var setting = Setting(skipped: skipped, site: site)
            for topology in Topology.allCases
            where scenarios.contains(where: { $0.topology == topology }) {
                for subject in subjects {
                    progress(BenchProgress("setting up", "\(subject.name), \(topology)"))
                    setting.stages.append(
                        try await Stage.build(
                            subject, topology, firstPod: setting.nextPod, at: site))
                    setting.nextPod += max(1, subject.podCount)
                }
            }
            return try await body(&setting)
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
