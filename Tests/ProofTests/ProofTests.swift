// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import Equivalence
import EquivalenceRig
import Foundation
import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// The mechanisms under proof.
enum ProvenMechanism: String, CaseIterable, Codable, Sendable {
    case socketLookup = "ebpf by sk_lookup"
    case trafficControl = "ebpf by tc"
    case nft
    case legacy

    /// Makes the backend; what is eBPF attaches to `cgroup`.
    func make(attachingTo cgroup: Cgroup) async throws -> any RedirectionBackend {
        switch self {
        case .socketLookup: try await EBPFBackend.load(attachingTo: cgroup, inbound: .socketLookup)
        case .trafficControl:
            try await EBPFBackend.load(attachingTo: cgroup, inbound: .trafficControl)
        case .nft: IPTablesBackend(.nft)
        case .legacy: IPTablesBackend(.legacy)
        }
    }
}

@Suite(.requiresKernel) struct ProofTests {
    @Test(arguments: ProvenMechanism.allCases.filter { m in ProcessInfo.processInfo.environment["M"].map { $0 == "\(m)" } ?? true })
    func `live traffic meets the verdicts of the model`(_ mechanism: ProvenMechanism) async {
        await #expect(processExitsWith: .success) { [mechanism] in
            try await withTestCgroup { cgroup in
                let log = try OwnedDescriptor.open("/tmp/prove.log", .append)
                let backend = try await mechanism.make(attachingTo: cgroup)
                var subject = KernelSubject(mechanism.rawValue, backend)
                var tally = Tally()
                let begin = ContinuousClock.now
                let count = Int(ProcessInfo.processInfo.environment["N"] ?? "20") ?? 20
                do {
                    let found = try await Prover(seed: 1).prove(&subject, 0..<count, &tally)
                    try log.write("\(mechanism): \(ContinuousClock.now - begin) \(tally)\n")
                    if let found { try log.write("\(found)\n") }
                    #expect(found == nil)
                } catch {
                    try log.write("\(mechanism): \(error)\n")
                    throw error
                }
            }
        }
    }
}
