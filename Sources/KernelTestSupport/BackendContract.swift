// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
package import RedirectionEngine
internal import RedirectionModel
internal import Testing

/// What every backend promises, whatever it is made of: one suite, run over all of them.
///
/// The cases know nothing of kernels; what traffic sees is tested where there is one.
package enum BackendContract: String, CaseIterable, Codable, Sendable {
    case nothingIsInstalledAtFirst = "nothing is installed at first"
    case whatIsAppliedIsInstalled = "what is applied is installed"
    case applyingTwiceIsApplyingOnce = "applying twice is applying once"
    case aSecondPlanReplacesTheFirst = "a second plan replaces the first"
    case aPlanThatIsOffLeavesNothing = "a plan that is off leaves nothing"
    case removingLeavesNothing = "removing leaves nothing"
    case removingTheUnknownSucceeds = "removing the unknown succeeds"
    case aRefusedPlanChangesNothing = "a refused plan changes nothing"
    case workloadsAreIndependent = "workloads are independent"
    case aRemovedWorkloadCanComeBack = "a removed workload can come back"
    case aPlanWithoutItsRoutingIsNotInstalled = "a plan without its routing is not installed"
    case whatIsAppliedHasNotDrifted = "what is applied has not drifted"
    case retiringWithoutConnectionsLeavesNothing = "retiring without connections leaves nothing"
    case retiringTheUnknownSucceeds = "retiring the unknown succeeds"
    case whatNothingCanSayIsRefused = "what nothing can say is refused"

    /// Checks the promise on a backend that holds nothing for the two workloads.
    package func check(
        _ backend: any RedirectionBackend, _ workload: Workload, beside other: Workload
    ) async throws {
        switch self {
        case .nothingIsInstalledAtFirst:
            #expect(try await backend.installed(in: workload) == nil)
        case .whatIsAppliedIsInstalled:
            try await backend.apply(Self.plan, to: workload)
            #expect(try await backend.installed(in: workload) == Self.plan.fingerprint)
        case .applyingTwiceIsApplyingOnce:
            try await backend.apply(Self.plan, to: workload)
            try await backend.apply(Self.plan, to: workload)
            #expect(try await backend.installed(in: workload) == Self.plan.fingerprint)
        case .aSecondPlanReplacesTheFirst:
            try await backend.apply(Self.plan, to: workload)
            try await backend.apply(Self.everything, to: workload)
            #expect(try await backend.installed(in: workload) == Self.everything.fingerprint)
        case .aPlanThatIsOffLeavesNothing:
            try await checkPlanThatIsOff(backend, workload)
        case .removingLeavesNothing:
            try await backend.apply(Self.everything, to: workload)
            try await backend.remove(from: workload)
            #expect(try await backend.installed(in: workload) == nil)
        case .removingTheUnknownSucceeds:
            try await backend.remove(from: workload)
        case .aRefusedPlanChangesNothing:
            try await checkRefusal(backend, workload)
        case .workloadsAreIndependent:
            try await backend.apply(Self.plan, to: workload)
            try await backend.apply(Self.everything, to: other)
            try await backend.remove(from: workload)
            #expect(try await backend.installed(in: workload) == nil)
            #expect(try await backend.installed(in: other) == Self.everything.fingerprint)
        case .aRemovedWorkloadCanComeBack:
            try await backend.apply(Self.plan, to: workload)
            try await backend.remove(from: workload)
            try await backend.apply(Self.plan, to: workload)
            #expect(try await backend.installed(in: workload) == Self.plan.fingerprint)
        case .aPlanWithoutItsRoutingIsNotInstalled:
            try await checkRouting(backend, workload)
        case .whatIsAppliedHasNotDrifted:
            #expect(try await !backend.drift(from: Self.plan, in: workload).isEmpty)
            for plan in [Self.plan, Self.everything] {
                try await backend.apply(plan, to: workload)
                #expect(try await backend.drift(from: plan, in: workload) == [])
            }
        case .retiringWithoutConnectionsLeavesNothing:
            try await backend.apply(Self.plan, to: workload)
            #expect(try await backend.retire(from: workload) == .complete)
            #expect(try await backend.installed(in: workload) == nil)
        case .retiringTheUnknownSucceeds:
            #expect(try await backend.retire(from: workload) == .complete)
        case .whatNothingCanSayIsRefused:
            try await checkNonsense(backend, workload)
        }
        try await backend.remove(from: workload)
        try await backend.remove(from: other)
    }

    private func checkPlanThatIsOff(
        _ backend: any RedirectionBackend, _ workload: Workload
    ) async throws {
        var off = Self.plan
        off.isEnabled = false
        try await backend.apply(Self.plan, to: workload)
        try await backend.apply(off, to: workload)
        #expect(try await backend.installed(in: workload) == nil)
    }

    /// Who has no kernel has no routing; who cannot accept transparently says so.
    private func checkRouting(
        _ backend: any RedirectionBackend, _ workload: Workload
    ) async throws {
        guard !(backend is InMemoryBackend) else { return }
        var plan = Self.plan
        plan.inboundMode = .transparent(mark: 7, table: 133)
        do throws(RedirectionError) {
            try await backend.apply(plan, to: workload)
        } catch {
            #expect(
                error
                    == .inexpressible(
                        part: "transparent inbound by tc", mechanism: backend.mechanism))
            return
        }
        #expect(try await backend.installed(in: workload) == plan.fingerprint)
        let owner: TransparentRouting.Owner =
            switch backend.mechanism {
            case .ebpf: .programs
            case .nft: .rules
            case .legacy: .legacyRules
            }
        try TransparentRouting.remove(from: workload.namespace, for: owner)
        #expect(try await backend.installed(in: workload) == nil)
        try await backend.apply(plan, to: workload)
        #expect(try await backend.installed(in: workload) == plan.fingerprint)
    }

    private func checkNonsense(
        _ backend: any RedirectionBackend, _ workload: Workload
    ) async throws {
        let nonsense: [(inout RedirectionPlan) -> Void] = [
            { $0.sidecar.outboundPort = 0 }, { $0.sidecar.inboundPort = 0 },
            { $0.inboundMode = .transparent(mark: 0, table: 133) },
            { $0.inboundMode = .transparent(mark: 7, table: 0) },
            { $0.inboundMode = .transparent(mark: 7, table: 255) },
        ]
        for change in nonsense {
            var plan = Self.plan
            change(&plan)
            guard let part = plan.partNothingCanSay else {
                Issue.record("somebody can say \(plan)")
                continue
            }
            let refusal = RedirectionError.inexpressible(part: part, mechanism: backend.mechanism)
            await #expect(throws: refusal) { try await backend.apply(plan, to: workload) }
            #expect(try await backend.installed(in: workload) == nil)
        }
    }

    /// No backend can know interfaces at connect(2) and rules alike, so this plan splits them.
    private func checkRefusal(
        _ backend: any RedirectionBackend, _ workload: Workload
    ) async throws {
        var demanding = Self.everything
        demanding.outbound.excludedInterfaces = ["eth1"]
        try await backend.apply(Self.plan, to: workload)
        do throws(RedirectionError) {
            try await backend.apply(demanding, to: workload)
            #expect(try await backend.installed(in: workload) == demanding.fingerprint)
        } catch .inexpressible(_, let mechanism) {
            #expect(mechanism == backend.mechanism)
            #expect(try await backend.installed(in: workload) == Self.plan.fingerprint)
        }
    }

    private static let plan = Preset.fsm.plan(ownAddresses: [IPAddress(ipv4: 0x0a4d_0002)])

    /// Everything a plan can say and every mechanism can carry out.
    private static let everything: RedirectionPlan = {
        var plan = Self.plan
        plan.sidecar.uids = [1500, 1501]
        plan.sidecar.gids = [1500, 1502]
        plan.sidecar.outboundPort = 16001
        plan.families[.ipv6] = .pass
        plan.excludedUIDs = [7, 8]
        plan.excludedGIDs = [9]
        plan.outbound = Selection(
            excludedPorts: PortSet([22...22, 8000...8999]),
            excludedNetworks: Set(["169.254.0.0/16", "fd00::/8"].compactMap { CIDR($0) }),
            includedPorts: PortSet([1...9999]), includedNetworks: [.all(.ipv4), .all(.ipv6)],
            combination: .any)
        plan.inbound = Selection(
            excludedPorts: [9090], excludedNetworks: Set(["192.0.2.0/24"].compactMap { CIDR($0) }))
        return plan
    }()
}
