// SPDX-License-Identifier: Apache-2.0

import RedirectionModel
import Testing

/// The rules that only some meshes use: name lookups, hand-overs, tunnels, bridges, ports by user.
@Suite struct FullPolicyVerdictTests {
    private let own = IPAddress(ipv4: 0x0a00_0002)
    private let application = Owner(uid: 1000, gid: 1000)
    private let sidecar = Owner(uid: 1500, gid: 1500)
    private var plan: RedirectionPlan { Preset.fsm.plan(ownAddresses: [own]) }

    private func verdict(
        to destination: String, _ protocol: TransportProtocol = .tcp, as owner: Owner?,
        from source: IPAddress? = nil, under plan: RedirectionPlan
    ) throws -> Verdict {
        plan.verdict(
            for: Flow(
                .outbound, `protocol`, from: Endpoint(source ?? own, 40_000),
                to: try #require(Endpoint(destination)), owner: owner))
    }

    @Test(arguments: ["192.0.2.53:53", "127.0.0.53:53", "10.0.0.2:53", "[2001:db8::35]:53"])
    func `all resolvers' queries are captured, wherever they are`(_ server: String) throws {
        var plan = plan
        plan.dns = DNSCapture(port: 15053)
        plan.families[.ipv6] = .drop
        let taken = Verdict(.redirectDNS(port: 15053), .dns)
        for `protocol` in TransportProtocol.allCases {
            #expect(try verdict(to: server, `protocol`, as: application, under: plan) == taken)
            #expect(
                try verdict(to: server, `protocol`, as: sidecar, under: plan).reason != .dns)
        }
    }

    @Test func `only the chosen resolvers, protocols and port are captured`() throws {
        var plan = plan
        plan.dns = DNSCapture(port: 15053, servers: [IPAddress(ipv4: 0xc000_0235)])
        func reason(_ to: String, _ transport: TransportProtocol) throws -> Reason {
            let verdict = try verdict(to: to, transport, as: application, under: plan)
            return verdict.reason
        }
        #expect(try reason("192.0.2.53:53", .udp) == .dns)
        #expect(try reason("[::ffff:192.0.2.53]:53", .udp) == .dns)
        #expect(try reason("192.0.2.54:53", .udp) == .protocol)
        #expect(try reason("192.0.2.53:5353", .udp) == .protocol)
        plan.dns?.protocols = [.udp]
        #expect(try reason("192.0.2.53:53", .tcp) == .outbound)
    }

    @Test func `a port can be excluded for a user alone, by protocol`() throws {
        var plan = plan
        plan.dns = DNSCapture(port: 15053)
        plan.ownerPortExclusions = [
            OwnerPortExclusion(
                uids: IDSet([900...1000]), ports: PortSet([53...53, 80...90]), protocols: [.tcp])
        ]
        let other = Owner(uid: 1001, gid: 1000)
        #expect(
            try verdict(to: "192.0.2.7:85", as: application, under: plan)
                == Verdict(.pass, .uidPort))
        #expect(try verdict(to: "192.0.2.7:91", as: application, under: plan).reason == .outbound)
        #expect(try verdict(to: "192.0.2.7:85", as: other, under: plan).reason == .outbound)
        #expect(try verdict(to: "192.0.2.7:53", as: application, under: plan).reason == .uidPort)
        #expect(try verdict(to: "192.0.2.7:53", .udp, as: application, under: plan).reason == .dns)
    }

    @Test func `what the sidecar hands on passes, within the workload only`() throws {
        var plan = plan
        let source = IPAddress(ipv4: 0x7f00_0006)
        plan.sidecar.passthroughSources = [source]
        for destination in ["10.0.0.2:80", "127.0.0.1:80"] {
            #expect(
                try verdict(to: destination, as: sidecar, from: source, under: plan)
                    == Verdict(.pass, .passthrough))
        }
        #expect(
            try verdict(to: "192.0.2.7:80", as: application, from: source, under: plan).reason
                == .outbound)
        #expect(try verdict(to: "10.0.0.2:80", as: sidecar, under: plan).reason == .selfCall)
    }

    @Test func `a transparent sidecar hands on in its client's name`() throws {
        var plan = plan
        let client = IPAddress(ipv4: 0xc000_0207)
        func reason(to: String, from source: IPAddress, _ owner: Owner) throws -> Reason {
            try verdict(to: to, as: owner, from: source, under: plan).reason
        }
        #expect(try reason(to: "10.0.0.2:80", from: client, sidecar) == .selfCall)
        plan.inboundMode = .transparent(mark: 1, table: 1)
        #expect(try reason(to: "10.0.0.2:80", from: client, sidecar) == .passthrough)
        #expect(try reason(to: "10.0.0.2:80", from: own, sidecar) == .selfCall)
        #expect(try reason(to: "10.0.0.2:80", from: .loopback(.ipv4), sidecar) == .selfCall)
        #expect(try reason(to: "10.0.0.2:80", from: IPAddress(ipv4: 0), sidecar) == .selfCall)
        #expect(try reason(to: "192.0.2.9:80", from: client, sidecar) == .sidecar)
        #expect(try reason(to: "10.0.0.2:80", from: client, application) == .ownAddress)
    }

    @Test func `calls to oneself follow the mesh's habits`() throws {
        var plan = plan
        plan.sidecar.tunnelPorts = [15008]
        #expect(try verdict(to: "10.0.0.2:15008", as: sidecar, under: plan).reason == .sidecar)
        #expect(try verdict(to: "10.0.0.2:15009", as: sidecar, under: plan).reason == .selfCall)
        plan.sidecar.redirectsSelfCalls = false
        #expect(try verdict(to: "10.0.0.2:15009", as: sidecar, under: plan).reason == .sidecar)
        #expect(try verdict(to: "10.0.0.2:80", as: application, under: plan).reason == .ownAddress)
        plan.passesOwnAddresses = false
        #expect(try verdict(to: "10.0.0.2:80", as: application, under: plan).reason == .outbound)
    }

    @Test func `what comes over a bridge inside the workload is outbound`() throws {
        var plan = plan
        let behind = IPAddress(ipv4: 0xac12_0005)
        plan.virtualInterfaces = [
            VirtualInterface("br+", localNetworks: [try #require(CIDR("172.18.0.0/16"))])
        ]
        func verdict(to destination: String, on interface: String) throws -> Verdict {
            plan.verdict(
                for: Flow(
                    .inbound, from: Endpoint(behind, 40_000),
                    to: try #require(Endpoint(destination)), interface: interface))
        }
        let outbound = Verdict(.redirectOutbound(port: 15001), .outbound)
        #expect(try verdict(to: "192.0.2.7:80", on: "br-4f") == outbound)
        #expect(try verdict(to: "172.18.0.9:80", on: "br-4f").reason == .cidrExcluded)
        #expect(try verdict(to: "10.0.0.2:80", on: "br-4f").reason == .ownAddress)
        #expect(try verdict(to: "10.0.0.2:80", on: "eth0").reason == .inbound)
        for (interface, table) in [("br0", Direction.outbound), ("eth0", .inbound)] {
            let end = Endpoint(own, 80)
            let flow = Flow(.inbound, from: Endpoint(behind, 1), to: end, interface: interface)
            #expect(plan.table(for: flow) == table)
        }
    }

    @Test(arguments: [
        ("eth0", true), ("br+", true), ("+", false), ("", false), ("a/b", false),
        ("a b", false), ("sixteen_letters_", false), ("fifteen_letters", true),
    ])
    func `an interface's name is one the kernel would take`(_ name: String, _ isValid: Bool) {
        #expect((InterfacePattern(name) != nil) == isValid)
        #expect(InterfacePattern(name)?.description ?? name == name)
    }

    @Test func `ranges are cut out of ranges`() {
        let all = IDSet([0...UInt32.max])
        #expect(all.subtracting([0, .max]).ranges == [1...(UInt32.max - 1)])
        #expect(IDSet([5...9]).subtracting(IDSet([0...5, 7...7, 9...20])).description == "6,8")
        #expect(PortSet([0...65535]).union([7]).ranges == [0...65535])
    }
}
