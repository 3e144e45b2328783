// SPDX-License-Identifier: Apache-2.0

import RedirectionModel
import Testing

/// The verdict table of docs/semantics.md, a row a test.
@Suite struct VerdictTests {
    let own: IPAddress
    let plan: RedirectionPlan
    let application = Owner(uid: 1000, gid: 1000)
    let sidecar = Owner(uid: 1500, gid: 1500)

    init() throws {
        own = try #require(IPAddress("10.0.0.2"))
        plan = Preset.fsm.plan(ownAddresses: [own])
    }

    private func outbound(
        to destination: String, as owner: Owner, _ protocol: TransportProtocol = .tcp,
        interface: String = "eth0", under plan: RedirectionPlan
    ) throws -> Verdict {
        let destination = try #require(Endpoint(destination))
        return plan.verdict(
            for: Flow(
                .outbound, `protocol`, from: Endpoint(own, 40000), to: destination, owner: owner,
                interface: interface))
    }

    private func inbound(
        to port: UInt16, from source: String = "10.9.9.9:1234", interface: String = "eth0",
        under plan: RedirectionPlan
    ) throws -> Verdict {
        let source = try #require(Endpoint(source))
        return plan.verdict(
            for: Flow(.inbound, from: source, to: Endpoint(own, port), interface: interface))
    }

    @Test func `an application's connection goes to the sidecar`() throws {
        #expect(
            try outbound(to: "192.0.2.7:80", as: application, under: plan)
                == Verdict(.redirectOutbound(port: 15001), .outbound))
    }

    @Test func `a plan that is off passes everything`() throws {
        var off = plan
        off.isEnabled = false
        #expect(
            try outbound(to: "192.0.2.7:80", as: application, under: off)
                == Verdict(.pass, .disabled))
        #expect(try inbound(to: 80, under: off) == Verdict(.pass, .disabled))
    }

    @Test func `only TCP is redirected`() throws {
        #expect(
            try outbound(to: "192.0.2.7:80", as: application, .udp, under: plan)
                == Verdict(.pass, .protocol))
    }

    @Test(arguments: [
        (FamilyPolicy.pass, Action.pass), (.drop, .drop),
    ])
    func `a family that is not managed has its own policy`(
        _ policy: FamilyPolicy, _ action: Action
    ) throws {
        var plan = plan
        plan.families[.ipv6] = policy
        #expect(
            try outbound(to: "[2001:db8::1]:80", as: application, under: plan)
                == Verdict(action, .family))
        #expect(
            try outbound(to: "[::ffff:192.0.2.7]:80", as: application, under: plan).reason
                == .outbound)
    }

    @Test func `the sidecar's call to its own workload comes back inbound`() throws {
        #expect(
            try outbound(to: "10.0.0.2:8080", as: sidecar, under: plan)
                == Verdict(.redirectInbound(port: 15003), .selfCall))
    }

    @Test func `the sidecar goes out alone`() throws {
        for destination in ["192.0.2.7:80", "127.0.0.1:8080"] {
            #expect(
                try outbound(to: destination, as: sidecar, under: plan) == Verdict(.pass, .sidecar))
        }
    }

    @Test func `a group can mark the sidecar too`() throws {
        var plan = plan
        plan.sidecar.gids = [77]
        #expect(
            try outbound(to: "192.0.2.7:80", as: Owner(uid: 1, gid: 77), under: plan).reason
                == .sidecar)
    }

    @Test(arguments: ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80", "[::ffff:127.0.0.1]:80"])
    func `loopback stays at home`(_ destination: String) throws {
        #expect(
            try outbound(to: destination, as: application, under: plan) == Verdict(.pass, .loopback)
        )
    }

    @Test func `an application reaches its own workload directly`() throws {
        #expect(
            try outbound(to: "10.0.0.2:80", as: application, under: plan)
                == Verdict(.pass, .ownAddress))
    }

    @Test func `exclusions are named, in order`() throws {
        var plan = plan
        plan.outbound.excludedPorts = [80]
        #expect(
            try outbound(to: "192.0.2.7:80", as: application, under: plan).reason == .portExcluded)
        plan.outbound.excludedNetworks = [.all(.ipv4)]
        #expect(
            try outbound(to: "192.0.2.7:80", as: application, under: plan).reason == .cidrExcluded)
        plan.outbound.excludedInterfaces = ["eth0"]
        #expect(try outbound(to: "192.0.2.7:80", as: application, under: plan).reason == .interface)
        plan.excludedGIDs = [1000]
        #expect(try outbound(to: "192.0.2.7:80", as: application, under: plan).reason == .gid)
        plan.excludedUIDs = [1000]
        #expect(try outbound(to: "192.0.2.7:80", as: application, under: plan).reason == .uid)
    }

    @Test func `include lists combine as the plan says`() throws {
        var plan = plan
        plan.outbound.includedPorts = [80]
        plan.outbound.includedNetworks = [try #require(CIDR("192.0.2.0/24"))]
        let flows = ["192.0.2.7:80", "192.0.2.7:81", "10.9.9.9:80", "10.9.9.9:81"]
        func reasons() throws -> [Reason] {
            try flows.map { try outbound(to: $0, as: application, under: plan).reason }
        }
        #expect(try reasons() == [.outbound, .notIncluded, .notIncluded, .notIncluded])
        plan.outbound.combination = .any
        #expect(try reasons() == [.outbound, .outbound, .outbound, .notIncluded])
    }

    @Test func `an empty include list includes nothing`() throws {
        var plan = plan
        plan.outbound.includedPorts = []
        #expect(
            try outbound(to: "192.0.2.7:80", as: application, under: plan).reason == .notIncluded)
    }

    @Test func `inbound goes to the inbound port`() throws {
        #expect(
            try inbound(to: 8080, under: plan) == Verdict(.redirectInbound(port: 15003), .inbound))
    }

    @Test func `what arrives on loopback is left alone`() throws {
        #expect(
            try inbound(to: 8080, interface: "lo", under: plan) == Verdict(.pass, .loopback))
    }

    @Test(arguments: [15000, 15001, 15003, 15010, 15901, 15904] as [UInt16])
    func `the sidecar's own ports are reached directly`(_ port: UInt16) throws {
        #expect(try inbound(to: port, under: plan) == Verdict(.pass, .sidecarPort))
    }

    @Test func `inbound exclusions are named, in order`() throws {
        var plan = plan
        plan.inbound.excludedPorts = [8080]
        #expect(try inbound(to: 8080, under: plan).reason == .portExcluded)
        plan.inbound.excludedNetworks = [try #require(CIDR("10.9.0.0/16"))]
        #expect(try inbound(to: 8080, under: plan).reason == .sourceExcluded)
        plan.inbound.excludedInterfaces = ["eth0"]
        #expect(try inbound(to: 8080, under: plan).reason == .interface)
        plan.inbound = Selection(includedPorts: [9090])
        #expect(try inbound(to: 8080, under: plan).reason == .notIncluded)
    }
}
