// SPDX-License-Identifier: Apache-2.0

import Equivalence
import EquivalenceRig
import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import TestedMechanisms
import Testing

/// Every preset means on every mechanism what the model says; the rules of nft and legacy are loaded
/// by the operator's own tools, from the text of the golden files.
@Suite(.requiresKernel) struct PresetTests {
    @Test(.timeLimit(.minutes(5)), arguments: PresetSubject.allCases)
    func `live traffic under each preset meets the verdicts of the model`(
        _ subject: PresetSubject
    ) async throws {
        let file = TemporaryFile()
        await #expect(processExitsWith: .success) { [subject, report = file.path as String] in
            try await withTestCgroup { cgroup in
                let backend = try await subject.make(attachingTo: cgroup)
                var reports = ""
                for preset in PresetPlan.all {
                    let plan = preset.plan(ownAddresses: World.podAddresses.both)
                    let name = "\(preset.name) by \(subject.rawValue)"
                    let isRefused = subject.refuses(plan)
                    let count = isRefused ? 1 : 10
                    let (tally, found) = try await Prover(seed: 1, of: plan)
                        .prove(count, lanes: 1) { KernelSubject(name, backend) }
                    reports += "\(name): \(tally)\n\(found.map { "\($0)\n" } ?? "")"
                    #expect(found == nil)
                    #expect(found != nil || tally.policies == (isRefused ? 0 : count))
                    #expect(isRefused || tally.refusals.isEmpty)
                    let calls = isRefused || !plan.sidecar.redirectsSelfCalls
                    #expect(calls || tally.reasons[.selfCall] != nil)
                }
                try OwnedDescriptor.open(report, .append).write(reports)
            }
        }
        print((try? readFile(file.path)) ?? "\(subject.rawValue): ended early")
    }
}

/// What carries presets out.
enum PresetSubject: String, CaseIterable, Codable, Sendable {
    case nft = "nft(8)"
    case legacy = "iptables-restore(8)"
    case socketLookup = "ebpf by sk_lookup"
    case trafficControl = "ebpf by tc"

    func make(attachingTo cgroup: Cgroup) async throws -> any RedirectionBackend {
        switch self {
        case .nft: StockRules(.nft)
        case .legacy: StockRules(.legacy)
        case .socketLookup: try await ProvenMechanism.socketLookup.make(attachingTo: cgroup)
        case .trafficControl: try await ProvenMechanism.trafficControl.make(attachingTo: cgroup)
        }
    }

    func refuses(_ plan: RedirectionPlan) -> Bool {
        self == .trafficControl && plan.inboundMode != .redirect
    }
}
