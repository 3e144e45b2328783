// SPDX-License-Identifier: Apache-2.0

import RedirectionModel
import Testing

/// Rules a mesh publishes, the policy that stands for them, and where they are left on purpose.
struct PublishedCase: CustomTestStringConvertible {
    /// The files' name.
    let name: String
    let preset: Preset
    var say: @Sendable (inout Policy) -> Void = { _ in }
    let deviations: [Deviation]

    var testDescription: String { name }

    static let all: [PublishedCase] = [
        PublishedCase(
            name: "fsm", preset: .fsm,
            deviations: [
                .inboundPortOverIPv4, .adminPorts, .wholeLoopback(redirected: 15003), .ipv6,
            ]),
        PublishedCase(
            name: "osm", preset: .osm,
            deviations: [
                .inboundPortOverIPv4, .adminPorts, .wholeLoopback(redirected: 15003), .ipv6,
            ]),
        PublishedCase(
            name: "istio", preset: .istio,
            deviations: [
                .inboundPort, .wholeLoopback(redirected: 15006, but: [15008, 15020]),
                .selfCallToExcludedPort, .selfCallByGroup(but: [15008, 15020]),
            ]),
        PublishedCase(
            name: "istio-dns", preset: .istio,
            say: { $0.dns.capture = .servers([FlowGrid.resolver]) },
            deviations: [
                .inboundPort, .wholeLoopback(redirected: 15006, but: [53, 15008, 15020]),
                .selfCallToExcludedPort, .selfCallByGroup(but: [53, 15008, 15020]),
                .ownLookupOverTCP, .lookupAtHome, .lookupAtHomeByGroup,
            ]),
        PublishedCase(
            name: "istio-tproxy", preset: .istio, say: { $0.inbound.style = .transparent },
            deviations: [
                .inboundPort, .wholeLoopback(redirected: 15006, but: [15008, 15020]),
                .selfCallToExcludedPort, .selfCallByGroup(but: [15008, 15020]),
                .transparentTunnel,
            ]),
        PublishedCase(name: "linkerd", preset: .linkerd, deviations: [.inboundPort]),
        PublishedCase(
            name: "kuma", preset: .kuma,
            deviations: [
                .inboundPort, .wholeLoopback(redirected: 15006, but: [53]), .ownLookupOverTCP,
            ]),
        PublishedCase(
            name: "consul", preset: .consul,
            deviations: [.inboundPort, .wholeLoopbackForApplications]),
    ]
}

/// Flows that a preset's plan treats otherwise than the mesh's rules do, and why.
struct Deviation {
    let name: String
    let reason: String
    /// What the rules do to these flows, and what the plan does.
    let published: PublishedRules.Outcome?
    let ours: PublishedRules.Outcome?
    let covers: @Sendable (Flow, RedirectionPlan) -> Bool

    init(
        _ name: String, _ reason: String, published: PublishedRules.Outcome? = nil,
        ours: PublishedRules.Outcome? = nil,
        covers: @escaping @Sendable (Flow, RedirectionPlan) -> Bool
    ) {
        self.name = name
        self.reason = reason
        self.published = published
        self.ours = ours
        self.covers = covers
    }

    static let inboundPort = Deviation(
        "inbound-port", "a connection to the inbound port gets there without being redirected",
        ours: .pass
    ) { flow, plan in
        flow.isInboundTCP && flow.destination.port == plan.sidecar.inboundPort
    }

    /// Where the mesh has no rules for the other family.
    static let inboundPortOverIPv4 = Deviation(
        inboundPort.name, inboundPort.reason, published: .redirect(15003), ours: .pass
    ) { flow, plan in inboundPort.covers(flow, plan) && !flow.isIPv6 }

    static let adminPorts = Deviation(
        "admin-ports", "the sidecar serves 15000 and 15001; the mesh's own eBPF mode passes them",
        published: .redirect(15003), ours: .pass
    ) { flow, _ in
        flow.isInboundTCP && !flow.isIPv6 && [15000, 15001].contains(flow.destination.port)
    }

    static let ipv6 = Deviation(
        "ipv6", "the mesh has no IPv6 rules, which leaves it unguarded; here it is managed",
        published: .pass
    ) { flow, plan in
        flow.isIPv6 && flow.protocol == .tcp && plan.verdict(for: flow).action != .pass
    }

    /// The sidecar's calls to 127.0.0.2 and up.
    static func wholeLoopback(redirected port: UInt16, but ports: Set<UInt16> = []) -> Deviation {
        Deviation(
            "whole-loopback", "all of 127.0.0.0/8 is loopback, as the kernel has it",
            published: .redirect(port), ours: .pass
        ) { flow, plan in
            flow.isOutboundTCP && flow.isToOtherLoopback
                && flow.owner?.uid == plan.sidecar.uids.first
                && !plan.sidecar.passthroughSources.contains(flow.source.address)
                && !ports.contains(flow.destination.port)
        }
    }

    static let wholeLoopbackForApplications = Deviation(
        "whole-loopback", "all of 127.0.0.0/8 is loopback, as the kernel has it",
        published: .redirect(15001), ours: .pass
    ) { flow, plan in
        flow.isOutboundTCP && flow.isToOtherLoopback && flow.owner?.uid != 5996
            && flow.owner.map { !plan.sidecar.owns($0) } ?? true
    }

    static let selfCallToExcludedPort = Deviation(
        "self-call-excluded",
        "the order of the table: an exclusion is the application's, a self-call the sidecar's",
        published: .pass, ours: .redirect(15006)
    ) { flow, plan in flow.isSelfCall(plan) && flow.destination.port == 15020 }

    static func selfCallByGroup(but ports: Set<UInt16>) -> Deviation {
        Deviation(
            "self-call-by-group",
            "the rules for the uid return before those for the gid are asked; an id is an id",
            published: .pass, ours: .redirect(15006)
        ) { flow, plan in
            flow.isSelfCall(plan) && flow.owner?.uid != 1337
                && !ports.contains(flow.destination.port)
        }
    }

    static let ownLookupOverTCP = Deviation(
        "own-lookup-over-tcp",
        "a self-call is one on any port; no sidecar asks itself for names over TCP",
        published: .pass, ours: .redirect(15006)
    ) { flow, plan in
        flow.isSelfCall(plan) && flow.destination.port == 53
            && flow.owner?.uid == plan.sidecar.uids.first
    }

    static let lookupAtHome = Deviation(
        "lookup-at-home",
        "a resolver in the workload that is not captured is reached like anything else there",
        published: .redirect(15001), ours: .pass
    ) { flow, plan in
        flow.isOutboundTCP && flow.destination.port == 53 && !flow.isByProxy(plan)
            && (flow.isToOtherLoopback || plan.ownAddresses.contains(flow.destination.address))
    }

    static let lookupAtHomeByGroup = Deviation(
        "whole-loopback-by-group", "all of 127.0.0.0/8 is loopback, as the kernel has it",
        published: .redirect(15006), ours: .pass
    ) { flow, plan in
        flow.isOutboundTCP && flow.destination.port == 53 && flow.isToOtherLoopback
            && flow.isByProxy(plan) && flow.owner?.uid != 1337
            && !plan.sidecar.passthroughSources.contains(flow.source.address)
    }

    static let transparentTunnel = Deviation(
        "transparent-tunnel",
        "nothing is changed about a transparent connection, so the tunnel's own listener takes it",
        published: .redirect(15006), ours: .pass
    ) { flow, _ in flow.isInboundTCP && flow.destination.port == 15008 }
}

extension Flow {
    fileprivate var isInboundTCP: Bool {
        direction == .inbound && `protocol` == .tcp && interface != "lo"
    }
    fileprivate var isOutboundTCP: Bool { direction == .outbound && `protocol` == .tcp }
    fileprivate var isIPv6: Bool { destination.address.family == .ipv6 }
    /// To loopback, but neither 127.0.0.1 nor ::1.
    fileprivate var isToOtherLoopback: Bool {
        let address = destination.address
        return address.isLoopback && address != .loopback(address.family)
    }

    fileprivate func isByProxy(_ plan: RedirectionPlan) -> Bool {
        owner.map { plan.sidecar.owns($0) } ?? false
    }

    fileprivate func isSelfCall(_ plan: RedirectionPlan) -> Bool {
        isOutboundTCP && isByProxy(plan) && plan.ownAddresses.contains(destination.address)
            && !plan.sidecar.passthroughSources.contains(source.address)
    }
}
