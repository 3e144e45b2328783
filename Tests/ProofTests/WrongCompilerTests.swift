// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import Equivalence
import EquivalenceRig
import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionModel
import TestedMechanisms
import Testing

/// Compilers that are wrong in the kernel itself: live traffic must give every one away, and the
/// case that does must be small enough to read.
@Suite(.requiresKernel) struct WrongCompilerTests {
    @Test(.timeLimit(.minutes(5)), arguments: WrongCompiler.allCases)
    func `a wrong compiler is caught by live traffic`(_ compiler: WrongCompiler) async throws {
        let file = TemporaryFile()
        await #expect(processExitsWith: .success) { [compiler, report = file.path as String] in
            try await withTestCgroup { cgroup in
                try await expectCaught(compiler.rawValue, report) {
                    KernelSubject(
                        compiler.rawValue,
                        try await compiler.mechanism.make(attachingTo: cgroup),
                        distorting: compiler.distort)
                }
            }
        }
        print(try readFile(file.path))
    }

    @Test(.timeLimit(.minutes(5)), arguments: WrongRules.allCases)
    func `wrong rules are caught by live traffic`(_ rules: WrongRules) async throws {
        let file = TemporaryFile()
        await #expect(processExitsWith: .success) { [rules, report = file.path as String] in
            try await expectCaught(
                rules.rawValue, report, attempts: rules.attempts, byCounters: rules.isOnlyCounted
            ) {
                KernelSubject(
                    rules.rawValue, IPTablesBackend(rules.flavor, compile: rules.compile))
            }
        }
        print(try readFile(file.path))
    }

    @Test(.timeLimit(.minutes(5)), arguments: WrongPrograms.allCases)
    func `wrong maps are caught by live traffic`(_ programs: WrongPrograms) async throws {
        let file = TemporaryFile()
        await #expect(processExitsWith: .success) { [programs, report = file.path as String] in
            try await withTestCgroup { cgroup in
                try await expectCaught(programs.rawValue, report) {
                    KernelSubject(
                        programs.rawValue,
                        try await EBPFBackend.load(
                            attachingTo: cgroup, inbound: programs.inbound,
                            rewriting: programs.rewrite))
                }
            }
        }
        print(try readFile(file.path))
    }
}

/// Tries policies until the mistake shows, and expects a case that is small.
private func expectCaught(
    _ name: String, _ report: String, attempts: Int = 1, byCounters: Bool = false,
    with makeSubject: @escaping @Sendable () async throws -> KernelSubject
) async throws {
    let log = try ProofLog(name, report)
    let (tally, found) = try await Prover(seed: 3).prove(500, lanes: 1, with: makeSubject)
    try log.conclude(tally, found)
    let disagreement = try #require(found)
    #expect(disagreement.trial.attempts.count == attempts)
    #expect(disagreement.trial.size <= 6, "\(disagreement)")
    // The mistake is in what is installed, not in whether it can be.
    switch disagreement.observed {
    case .strange(let text): Issue.record("\(text)")
    case .miscounted: break
    case .accepted, .refused, .dropped: #expect(!byCounters)
    }
}

/// Mistakes, each made in the plan on its way to a mechanism that is right.
enum WrongCompiler: String, CaseIterable, Codable, Sendable {
    case swapsPorts = "the sidecar's ports are in each other's place"
    case noFamilyGuard = "a family that passes is managed"
    case dropPasses = "a family that is dropped passes"
    case endsEarly = "a range of ports ends one early"
    case beginsLate = "a range of ports begins one late"
    case firstTwenty = "a list ends after twenty items"
    case noGroups = "groups are forgotten"
    case swapsSelections = "sources are looked up among destinations"
    case alwaysAll = "both include lists must match, whatever the plan says"
    case emptyIsNone = "an include list of nothing lets everything through"
    case noSidecarPorts = "the sidecar's own ports are redirected"
    case shortPrefixes = "networks are one bit too wide"

    /// Each mechanism is somebody's, so that all are seen to be watched.
    var mechanism: ProvenMechanism {
        let all = ProvenMechanism.allCases
        return all[(Self.allCases.firstIndex(of: self) ?? 0) % all.count]
    }

    var distort: @Sendable (RedirectionPlan) -> RedirectionPlan {
        { plan in
            var plan = plan
            distort(&plan)
            distort(&plan.outbound)
            distort(&plan.inbound)
            return plan
        }
    }

    private func distort(_ plan: inout RedirectionPlan) {
        switch self {
        case .swapsPorts: swap(&plan.sidecar.outboundPort, &plan.sidecar.inboundPort)
        case .noFamilyGuard:
            plan.families = plan.families.mapValues { $0 == .pass ? .managed : $0 }
        case .dropPasses: plan.families = plan.families.mapValues { $0 == .drop ? .pass : $0 }
        case .noGroups:
            plan.sidecar.gids = []
            plan.excludedGIDs = []
        case .swapsSelections:
            swap(&plan.outbound.excludedNetworks, &plan.inbound.excludedNetworks)
        case .noSidecarPorts: plan.sidecar.ownPorts = []
        default: break
        }
    }

    private func distort(_ selection: inout Selection) {
        switch self {
        case .endsEarly:
            selection.excludedPorts = map(selection.excludedPorts) {
                $0.lowerBound...($0.upperBound - 1)
            }
        case .beginsLate:
            selection.excludedPorts = map(selection.excludedPorts) {
                ($0.lowerBound + 1)...$0.upperBound
            }
        case .firstTwenty:
            selection.excludedPorts = PortSet(selection.excludedPorts.ranges.prefix(20))
        case .alwaysAll: selection.combination = .all
        case .emptyIsNone:
            if selection.includedPorts?.isEmpty == true { selection.includedPorts = nil }
            if selection.includedNetworks?.isEmpty == true { selection.includedNetworks = nil }
        case .shortPrefixes:
            selection.excludedNetworks = Set(
                selection.excludedNetworks.compactMap { network in
                    CIDR(network.network, prefixLength: max(network.prefixLength - 1, 0))
                })
        default: break
        }
    }

    /// Changes ranges, but not single ports.
    private func map(
        _ ports: PortSet, _ change: (ClosedRange<UInt16>) -> ClosedRange<UInt16>
    ) -> PortSet {
        PortSet(ports.ranges.map { $0.count == 1 ? $0 : change($0) })
    }
}
