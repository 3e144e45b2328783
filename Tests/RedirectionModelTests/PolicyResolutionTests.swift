// SPDX-License-Identifier: Apache-2.0

import RedirectionModel
import Testing

@Suite struct PolicyResolutionTests {
    private let own: Set = [IPAddress(ipv4: 0x0a00_0002)]

    private func plan(_ say: (inout Policy) throws -> Void) throws -> RedirectionPlan {
        var policy = Policy()
        try say(&policy)
        return try policy.resolved(ownAddresses: own).plan
    }

    private func conflicts(_ say: (inout Policy) -> Void) -> [PolicyConflict] {
        var policy = Policy()
        say(&policy)
        do throws(PolicyConflicts) {
            _ = try policy.resolved(ownAddresses: own)
            return []
        } catch {
            return error.conflicts
        }
    }

    @Test(arguments: Preset.all)
    func `a policy that says nothing is the preset's plan`(_ preset: Preset) throws {
        let plan = try plan { $0.preset = preset.id }
        #expect(plan == preset.plan(ownAddresses: own))
        #expect(plan.isEnabled && plan.ownAddresses == own && plan.sidecar == preset.sidecar)
        #expect(plan.passesOwnAddresses == preset.passesOwnAddresses)
        #expect(plan.dns == (preset.dns == .all ? DNSCapture(port: preset.dnsPort ?? 0) : nil))
        #expect(plan.excludedUIDs == preset.excludedUIDs && plan.inboundMode == .redirect)
        #expect(plan.outbound.excludedPorts == preset.outbound.excludedPorts)
        #expect(plan.inbound == preset.inbound)
    }

    @Test func `nothing said at all is fsm and auto`() throws {
        let resolved = try Policy().resolved(ownAddresses: own)
        #expect(resolved.preset == .fsm)
        #expect(resolved.mode == .auto)
    }

    @Test func `mode none disables the plan`() throws {
        #expect(try !plan { $0.mode = PolicyMode.none }.isEnabled)
    }

    @Test func `loopback is nobody's own address`() throws {
        let addresses = own.union([.loopback(.ipv4), .loopback(.ipv6)])
        #expect(try Policy().resolved(ownAddresses: addresses).plan.ownAddresses == own)
    }

    @Test func `a port the sidecar listens on stays its own when it moves`() throws {
        let moved = try plan {
            $0.sidecar.outboundPort = 16001
            $0.sidecar.inboundPort = 16003
        }
        #expect(moved.sidecar.ownPorts.description == "15000,15010,15901-15904,16001,16003")
        let said = try plan { $0.sidecar.ports = [9000] }
        #expect(said.sidecar.ownPorts.description == "9000,15001,15003")
        let equal = try plan {
            $0.sidecar.outboundPort = 15003
            $0.sidecar.inboundPort = 15003
        }
        #expect(equal.sidecar.outboundPort == equal.sidecar.inboundPort)
    }

    @Test func `an admin or control port moves without the other, whatever else is said`() throws {
        let admin = try plan { $0.sidecar.adminPort = 16000 }
        #expect(admin.sidecar.ownPorts.description == "15001,15003,15010,15901-15904,16000")
        let swapped = try plan {
            $0.preset = .linkerd
            $0.sidecar.adminPort = 4190
            $0.sidecar.controlPort = 4191
        }
        #expect(swapped.sidecar.ownPorts == [4143, 4190, 4191])
        let listed = try plan {
            $0.preset = .linkerd
            $0.sidecar.ports = [4191]
            $0.sidecar.adminPort = 5191
        }
        #expect(listed.sidecar.ownPorts == [4143, 4191, 5191])
    }

    @Test func `name lookups want a port where the mesh has none that would do`() {
        for preset in [Preset.Name.fsm, .osm, .linkerd] {
            let found = conflicts {
                $0.preset = preset
                $0.dns.capture = .all
            }
            #expect(found == [.dnsPortMissing(preset)])
        }
    }

    @Test func `a conflict says where its cause was said, the nearest one`() {
        var far = Policy()
        far.dns.capture = .all
        far.places["dns.capture"] = "node.yaml:3:12"
        far.sidecar.dnsPort = 1
        far.places["sidecar.dnsPort"] = "node.yaml:9:9"
        var near = Policy()
        near.sidecar.dnsPort = 15001
        near.places["sidecar.dnsPort"] = "pod a: swerve.dev/dns-port"
        func said(_ policy: Policy) -> String {
            do throws(PolicyConflicts) {
                _ = try policy.resolved(ownAddresses: own)
                return "a plan"
            } catch {
                return error.description
            }
        }
        let taken = said(far.overlaid(by: near))
        #expect(taken.hasPrefix("pod a: swerve.dev/dns-port: sidecar.dnsPort: 15001 is "))
        far.sidecar.dnsPort = nil
        far.places["sidecar.dnsPort"] = nil
        #expect(said(far).hasPrefix("node.yaml:3:12: sidecar.dnsPort: missing: "))
    }

    /// Lists of a length that a hostile pod can have: quadratic work would not end in a test's time.
    @Test func `long lists are ordinary`() throws {
        let found = conflicts {
            $0.outbound.includedPorts = PortSet(values: (1...10_000).map { UInt16(6 * $0) })
            $0.outbound.excludedPorts = PortSet(
                (1...10_000).map { UInt16(6 * $0)...UInt16(6 * $0 + 1) })
            $0.inbound.includedSources = Set(
                (0..<50_000).map { CIDR(IPAddress(ipv4: 0x0a00_0000 + 2 * $0)) })
            $0.inbound.excludedSources = Set(
                (0..<50_000).compactMap {
                    CIDR(IPAddress(ipv4: 0x0a00_0000 + 2 * $0), prefixLength: 31)
                })
        }
        #expect(found.map(\.field) == ["outbound.include.ports", "inbound.include.sources"])
        #expect(found.last?.description.contains("and 49997 more") == true)
    }

    @Test func `a network is covered by one that holds it, of its own family`() throws {
        func isCovered(_ networks: [String], by covers: [String]) -> Bool {
            !conflicts {
                $0.outbound.includedNetworks = Set(networks.compactMap { CIDR($0) })
                $0.outbound.excludedNetworks = Set(covers.compactMap { CIDR($0) })
            }.isEmpty
        }
        #expect(isCovered(["10.0.0.0/8", "10.1.0.0/16"], by: ["10.0.0.0/8"]))
        #expect(isCovered(["10.1.0.0/16", "fd00::1"], by: ["10.0.0.0/8", "10.2.0.0/16", "::/0"]))
        #expect(!isCovered(["10.0.0.0/8"], by: ["10.0.0.0/9", "10.128.0.0/9"]))
        #expect(!isCovered(["10.0.0.0/8"], by: ["::/0"]))
        #expect(!isCovered(["10.0.0.0/8", "11.0.0.0/8"], by: ["9.0.0.0/8", "10.0.0.0/8"]))
        #expect(!isCovered(["9.0.0.0/8"], by: ["10.0.0.0/8"]))
    }

    @Test func `what a mesh excludes stays excluded`() throws {
        let plan = try plan {
            $0.preset = .linkerd
            $0.inbound.excludedPorts = [9000]
            $0.outbound.excludedPorts = [22]
        }
        #expect(plan.inbound.excludedPorts == [4567, 4568, 9000])
        #expect(plan.outbound.excludedPorts == [22, 4567, 4568])
    }

    @Test func `impossible combinations are named, all of them`() throws {
        let cidr = try #require(CIDR("10.0.0.0/8"))
        let inner = try #require(CIDR("10.1.0.0/16"))
        let found = conflicts {
            $0.preset = .osm
            $0.sidecar.uids = []
            $0.sidecar.outboundPort = 0
            $0.outbound.excludedNetworks = [cidr]
            $0.outbound.includedNetworks = [inner]
            $0.outbound.excludedPorts = PortSet([80...90])
            $0.outbound.includedPorts = [85]
            $0.inbound.style = .transparent
            $0.inbound.table = 254
            $0.dns.capture = .all
        }
        #expect(
            found == [
                .sidecarUnidentified, .portIsZero("sidecar.outboundPort"),
                .wholeIncludeExcluded("outbound.include.ports", "85"),
                .wholeIncludeExcluded("outbound.include.cidrs", "10.1.0.0/16"),
                .transparentMissing("inbound.mark"), .tableReserved(254), .dnsPortMissing(.osm),
            ])
        #expect(Set(found.map(\.description)).count == found.count)
    }

    @Test func `name lookups need a port, a server and a protocol`() {
        #expect(
            conflicts {
                $0.dns.capture = .servers([])
                $0.dns.protocols = []
                $0.sidecar.dnsPort = 15001
            } == [
                .dnsServersEmpty, .dnsPortTaken(15001, by: "sidecar.outboundPort"),
                .dnsProtocolsEmpty,
            ])
    }

    @Test func `an include that is partly excluded is ordinary`() throws {
        let plan = try plan {
            $0.outbound.includedPorts = PortSet([80...90])
            $0.outbound.excludedPorts = [85]
        }
        #expect(plan.outbound.includedPorts == PortSet([80...90]))
    }

    @Test func `an exclusion of port 53 wins over its capture`() throws {
        func dns(_ say: (inout Policy) throws -> Void) throws -> DNSCapture? {
            try plan {
                $0.dns.capture = .all
                $0.sidecar.dnsPort = 15053
                try say(&$0)
            }.dns
        }
        #expect(try dns { _ in }?.protocols == [.udp, .tcp])
        #expect(try dns { $0.outbound.excludesDNSOverUDP = true }?.protocols == [.tcp])
        #expect(try dns { $0.outbound.excludedPorts = PortSet([50...60]) }?.protocols == [.udp])
        #expect(
            try dns {
                $0.outbound.excludedPorts = [53]
                $0.outbound.excludesDNSOverUDP = true
            } == nil)
    }

    @Test func `transparent takes the preset's mark and table, or the policy's`() throws {
        let istio = try plan {
            $0.preset = .istio
            $0.inbound.style = .transparent
        }
        #expect(istio.inboundMode == .transparent(mark: 1337, table: 133))
        let said = try plan {
            $0.inbound.style = .transparent
            $0.inbound.mark = 7
            $0.inbound.table = 8
        }
        #expect(said.inboundMode == .transparent(mark: 7, table: 8))
        let neither = try plan { $0.inbound.mark = 7 }
        #expect(neither.inboundMode == .redirect)
    }

    @Test func `with any, a list of everything takes the other along`() throws {
        let everything: Set<CIDR> = [.all(.ipv4), .all(.ipv6)]
        func outbound(_ say: (inout Policy) -> Void) throws -> Selection {
            try plan {
                $0.outbound.includedPorts = [80]
                $0.outbound.includedNetworks = everything
                say(&$0)
            }.outbound
        }
        let any = try outbound { $0.outbound.combination = .any }
        #expect(any.includedPorts == nil && any.includedNetworks == nil)
        let all = try outbound { $0.outbound.combination = .all }
        #expect(all.includedPorts == [80] && all.includedNetworks == nil)
        let half = try outbound {
            $0.outbound.combination = .any
            $0.outbound.includedNetworks = [.all(.ipv4)]
        }
        #expect(half.includedPorts == [80] && half.includedNetworks == [.all(.ipv4)])
        let alone = try outbound {
            $0.outbound.combination = .any
            $0.outbound.includedNetworks = [.all(.ipv4)]
            $0.families[.ipv6] = .pass
        }
        #expect(alone.includedPorts == nil && alone.includedNetworks == nil)
    }
}
