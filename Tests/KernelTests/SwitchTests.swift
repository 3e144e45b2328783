// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import Foundation
import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SeededRandom
import TestedMechanisms
import Testing

/// Mechanisms take over from one another under traffic, and nobody notices.
///
/// `SWERVE_SWITCHES=1000` makes it a thousand, `SWERVE_SCENES=all,trafficControl` in these scenes alone;
/// `SWERVE_BUSY=8` and `SWERVE_PACE=20`, rests of twenty times the length, are enough for an emulated
/// processor, which is busy with nothing but the traffic otherwise.
@Suite(.requiresKernel, .serialized) struct SwitchTests {
    static let count = number("SWERVE_SWITCHES") ?? 12
    fileprivate static let busy = number("SWERVE_BUSY")
    fileprivate static let pace = number("SWERVE_PACE") ?? 1

    private static func number(_ name: String) -> Int? {
        ProcessInfo.processInfo.environment[name].flatMap { Int($0) }
    }

    /// What is switched between, and how.
    enum Scene: String, CaseIterable, Codable, Sendable {
        case rules = "nft and legacy"
        case transparentRules = "nft and legacy, transparent"
        case rulesWithBreaks = "nft and legacy, nothing in between"
        case all = "nft, legacy and ebpf"
        case allTransparent = "nft, legacy and ebpf, transparent"
        case allWithBreaks = "nft, legacy and ebpf, nothing in between"
        case trafficControl = "nft, legacy and ebpf by tc"
        case attachment = "nft, legacy and ebpf as on Linux 5.4"

        /// Those of mechanisms under test, and of them those that somebody has named.
        static let possible: [Self] = {
            let wish = ProcessInfo.processInfo.environment["SWERVE_SCENES"]
            let names = wish.map { Set($0.split(separator: ",").map(String.init)) }
            return allCases.filter { scene in
                let mechanisms = [.nft, .legacy] + (scene.programs.map { [$0] } ?? [])
                return mechanisms.allSatisfy(TestedMechanism.allCases.contains)
                    && names?.contains("\(scene)") ?? true
            }
        }()

        fileprivate var isTransparent: Bool { self == .transparentRules || self == .allTransparent }
        fileprivate var hasBreaks: Bool { self == .rulesWithBreaks || self == .allWithBreaks }
        /// The programs among the mechanisms, if there are.
        fileprivate var programs: TestedMechanism? {
            switch self {
            case .rules, .transparentRules, .rulesWithBreaks: nil
            case .all, .allTransparent, .allWithBreaks: .socketLookup
            case .trafficControl: .trafficControl
            case .attachment: .attachment
            }
        }
    }

    @Test(.timeLimit(.minutes(60)), arguments: Scene.possible)
    func `no connection notices a switch, and nothing is left of any`(_ scene: Scene) async {
        let result = await #expect(
            processExitsWith: .success,
            observing: [\.standardOutputContent]
        ) { [scene] in
            try await Switches.run(scene)
        }
        print(result?.output ?? "")
    }
}

/// A pod, the mechanisms, and who is at it.
private struct Switches {
    let pod: TestPod
    let plan: RedirectionPlan
    let scene: SwitchTests.Scene
    let backends: [any RedirectionBackend]
    var random = SplitMix64(seed: 4)
    var current = 0
    var kinds: [String: Int] = [:]

    static func run(_ scene: SwitchTests.Scene) async throws {
        try await withTestCgroup { cgroup in
            let pod = try TestPod.create()
            var plan = pod.plan
            var settings = TrafficLoad.Settings()
            settings.busy = SwitchTests.busy ?? settings.busy
            settings.pause *= SwitchTests.pace
            settings.probePause *= SwitchTests.pace
            if scene.isTransparent {
                plan.inboundMode = .transparent(mark: 0x539, table: 133)
                settings.transparentMark = 0x539
            }
            settings.mayPassDirectly = scene.hasBreaks
            var backends: [any RedirectionBackend] = [
                IPTablesBackend(.nft), IPTablesBackend(.legacy),
            ]
            if let programs = scene.programs {
                backends.append(try await programs.make(attachingTo: cgroup))
            }
            var switches = Switches(pod: pod, plan: plan, scene: scene, backends: backends)
            try await switches.all(settings)
        }
    }

    /// Switches at random under traffic, then checks that nothing is left.
    private mutating func all(_ settings: TrafficLoad.Settings) async throws {
        let before = try Traces(of: pod.namespace)
        let entries = try await programs?.occupancy()
        try await backends[current].apply(plan, to: pod.workload)
        let load = TrafficLoad(pod, settings)
        try load.start()
        try await load.waitUntilOpen()
        do {
            for _ in 0..<SwitchTests.count { try await change() }
        } catch {
            Issue.record("\(error)")
        }
        let outcome = await load.finish()
        print(
            "\(scene.rawValue): \(SwitchTests.count) switches \(kinds.sorted { $0.key < $1.key }): \(outcome.summary)"
        )
        let faults = TrafficLoad.Fault.allCases.map(outcome.count).reduce(0, +)
        #expect(faults == 0, "\(outcome.summary)\n\(outcome.faults)")
        for direction in Direction.allCases {
            #expect(outcome.probes[direction, default: 0] > SwitchTests.count)
            #expect(outcome.blocks[direction, default: 0] > SwitchTests.count)
        }
        for backend in backends { try await end(backend) }
        let after = try Traces(of: pod.namespace)
        #expect(after == before, "\(after) \(before)")
        if let entries { try await expectMaps(at: entries) }
    }

    /// The programs among the mechanisms, if there are.
    private var programs: EBPFBackend? {
        for case let programs as EBPFBackend in backends { return programs }
        return nil
    }

    /// The maps hold what they held before, and nothing found them full.
    private func expectMaps(at rest: [String: Int]) async throws {
        guard let programs else { return }
        // Flows through tc are kept for two minutes after their end.
        let entries = try await settledOccupancy(of: programs, at: rest, within: .seconds(150))
        #expect(entries == rest)
        let failures = try await programs.failures()
        #expect(failures.values.allSatisfy { $0 == 0 }, "\(failures)")
    }

    /// One switch: the new before the old goes, or nothing in between.
    private mutating func change() async throws {
        let next = (current + Int.random(in: 1..<backends.count, using: &random)) % backends.count
        let (old, new) = (backends[current], backends[next])
        kinds["\(old.mechanism) to \(new.mechanism)", default: 0] += 1
        if scene.hasBreaks {
            _ = try await old.retire(from: pod.workload)
            try await Task.sleep(for: .milliseconds(Int.random(in: 0...30, using: &random)))
            try await new.apply(plan, to: pod.workload)
        } else {
            try await new.apply(plan, to: pod.workload)
            _ = try await old.retire(from: pod.workload)
        }
        try await Task.sleep(for: .milliseconds(Int.random(in: 0...60, using: &random)))
        // Who was retired earlier is asked again, as the engine does, and may be done.
        for index in backends.indices where index != next {
            _ = try await backends[index].retire(from: pod.workload)
        }
        current = next
    }

    /// Retires until nothing is left, for which closing connections may need a while.
    private func end(_ backend: any RedirectionBackend) async throws {
        let limit = ContinuousClock.now + .seconds(150)
        var state = try await backend.retire(from: pod.workload)
        while state != .complete, ContinuousClock.now < limit {
            try await Task.sleep(for: .milliseconds(100))
            state = try await backend.retire(from: pod.workload)
        }
        if state != .complete {
            let sockets = try StockTool.run("ss", "-tan", in: pod.namespace).output
            Issue.record("\(backend.mechanism): \(state)\n\(sockets.prefix(10_000))")
        }
        #expect(try await backend.installed(in: pod.workload) == nil)
    }
}

/// All that a mechanism could leave in a namespace; a legacy table cannot be unmade, only emptied.
private struct Traces: Equatable {
    let rules: [String]
    let routing: [String]
    let filters: String

    init(of namespace: NetworkNamespace) throws {
        let snapshot = try StockTool.Snapshot(of: namespace)
        let legacy = [snapshot.ipv4, snapshot.ipv6].flatMap { $0.split(separator: "\n") }
            .filter { $0.hasPrefix("-A ") || $0.contains(" - [") }.map { String($0) }
        rules = legacy + [snapshot.nft]
        let outputs = try [
            ["ip", "rule"], ["ip", "-6", "rule"], ["ip", "route", "show", "table", "all"],
            ["cat", "/proc/sys/net/ipv4/tcp_fwmark_accept"],
        ].map { try StockTool.run($0, in: namespace).output }
        // An interface's own IPv6 address is a second or two late.
        routing = outputs.flatMap { $0.split(separator: "\n") }.map { String($0) }
            .filter { !$0.contains("fe80:") && !$0.contains("ff00::/8") }
        filters = try StockTool.run("tc", "qdisc", "show", "dev", "eth0", in: namespace).output
    }
}
