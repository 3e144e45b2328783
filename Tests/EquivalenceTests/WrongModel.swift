// SPDX-License-Identifier: Apache-2.0

import Equivalence
import RedirectionModel

/// A subject without a kernel: it does what a verdict says, right or wrong.
struct ModelSubject: Subject, Sendable {
    let name: String
    let verdict: @Sendable (RedirectionPlan, Attempt) -> Verdict

    mutating func observe(_ trial: Trial) async throws -> Observation {
        .outcomes(
            trial.attempts.map { trial.outcome(of: $0, under: verdict(trial.plan, $0)) })
    }
}

/// Mistakes that compilers of plans make, each a wrong reading of the model.
enum Mistake: String, CaseIterable, Codable, Sendable {
    case ownerIsWhoConnects
    case mappedIsIPv6
    case everyIPv6NetworkCoversIPv4
    case sidecarBeforeSelfCall
    case protocolBeforeDNS
    case sidecarIsCaptured
    case noFamilyGuard
    case droppedFamilyPasses
    case noSidecarPorts
    case combinationIsAlwaysAll
    case emptyIncludeListIsNone
    case rangesEndEarly
    case rangesBeginLate
    case listsEndAtTwenty
    case gidsAreForgotten
    case prefixInterfacesAreNames
    case interfaceIsForgotten
    case ownerPortsOfEveryProtocol
    case tunnelPortsAreForgotten
    case passthroughIsForgotten
    case localNetworksAreForgotten
    case sourcesAreDestinations
    case outboundPortInbound
    case dnsOverUDPAlone

    func verdict(_ plan: RedirectionPlan, _ attempt: Attempt) -> Verdict {
        var wrong = plan
        var flow = attempt.flow
        distort(&wrong)
        distort(&flow, of: attempt)
        let verdict = wrong.verdict(for: flow)
        return reordered(verdict, plan, flow)
    }

    /// Rules that are in each other's place.
    private func reordered(
        _ verdict: Verdict, _ plan: RedirectionPlan, _ flow: Flow
    ) -> Verdict {
        switch (self, verdict.reason) {
        case (.sidecarBeforeSelfCall, .selfCall): Verdict(.pass, .sidecar)
        case (.protocolBeforeDNS, .dns) where flow.protocol == .udp: Verdict(.pass, .protocol)
        case (.outboundPortInbound, .inbound):
            Verdict(.redirectInbound(port: plan.sidecar.outboundPort), .inbound)
        default: verdict
        }
    }

    private func distort(_ flow: inout Flow, of attempt: Attempt) {
        switch self {
        case .ownerIsWhoConnects: flow.owner = attempt.connector ?? flow.owner
        case .mappedIsIPv6 where attempt.isMapped:
            // 64:ff9b::/96 stands for what is neither this family's nor that one's network.
            flow.destination.address = IPAddress(
                bits: 0x64_ff9b << 96 | UInt128(flow.destination.address.ipv4))
        case .sidecarIsCaptured where flow.destination.port == DNSCapture.domainPort:
            flow.owner = flow.owner.map { _ in Owner(uid: 4711, gid: 4711) }
        case .sourcesAreDestinations where flow.direction == .inbound:
            swap(&flow.source.address, &flow.destination.address)
        default: break
        }
    }

    private func distort(_ plan: inout RedirectionPlan) {
        switch self {
        case .noFamilyGuard:
            plan.families = plan.families.mapValues { $0 == .pass ? .managed : $0 }
        case .droppedFamilyPasses:
            plan.families = plan.families.mapValues { $0 == .drop ? .pass : $0 }
        case .noSidecarPorts: plan.sidecar.ownPorts = []
        case .gidsAreForgotten:
            plan.sidecar.gids = []
            plan.excludedGIDs = []
        case .ownerPortsOfEveryProtocol:
            for index in plan.ownerPortExclusions.indices {
                plan.ownerPortExclusions[index].protocols = [.tcp, .udp]
            }
        case .tunnelPortsAreForgotten: plan.sidecar.tunnelPorts = []
        case .passthroughIsForgotten: plan.sidecar.passthroughSources = []
        case .localNetworksAreForgotten:
            plan.virtualInterfaces = Set(
                plan.virtualInterfaces.map { VirtualInterface($0.interface) })
        case .dnsOverUDPAlone: plan.dns?.protocols.remove(.tcp)
        default:
            distort(&plan.outbound)
            distort(&plan.inbound)
        }
    }

    private func distort(_ selection: inout Selection) {
        switch self {
        case .everyIPv6NetworkCoversIPv4:
            if selection.excludedNetworks.contains(.all(.ipv6)) {
                selection.excludedNetworks.insert(.all(.ipv4))
            }
        case .combinationIsAlwaysAll: selection.combination = .all
        case .emptyIncludeListIsNone:
            if selection.includedPorts?.isEmpty == true { selection.includedPorts = nil }
        case .rangesEndEarly, .rangesBeginLate, .listsEndAtTwenty:
            selection.excludedPorts = distorted(selection.excludedPorts)
        case .prefixInterfacesAreNames:
            selection.excludedInterfaces = selection.excludedInterfaces.filter { !$0.isPrefix }
        case .interfaceIsForgotten: selection.excludedInterfaces = []
        default: break
        }
    }

    private func distorted(_ ports: PortSet) -> PortSet {
        switch self {
        case .listsEndAtTwenty: PortSet(ports.ranges.prefix(20))
        case .rangesEndEarly:
            PortSet(ports.ranges.map { $0.count == 1 ? $0 : $0.lowerBound...($0.upperBound - 1) })
        case .rangesBeginLate:
            PortSet(ports.ranges.map { $0.count == 1 ? $0 : ($0.lowerBound + 1)...$0.upperBound })
        default: ports
        }
    }
}
