// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import RedirectionModel
import Testing

/// Holds docs/semantics.md to the function it describes.
@Suite struct SemanticsTableTests {
    private let tables: [Direction: [Row]]

    init() throws {
        let root = #filePath.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" }
        let page = try #require(FileManager.default.contents(atPath: root + "/docs/semantics.md"))
        let sections = String(decoding: page, as: UTF8.self).split(separator: "\n## ")
        func rows(_ title: String) throws -> [Row] {
            let section = try #require(sections.first { $0.hasPrefix(title) })
            return try section.split(separator: "\n").filter { $0.hasPrefix("| `") }.map(Row.init)
        }
        tables = [.outbound: try rows("Outbound:"), .inbound: try rows("Inbound:")]
    }

    @Test func `the tables name every reason, and each once`() throws {
        for (direction, rows) in tables {
            #expect(Set(rows.map(\.reason)).count == rows.count, "\(direction)")
        }
        #expect(Set(tables.values.joined().map(\.reason)) == Set(Reason.allCases))
    }

    /// From the last row up, what each row asks for is added to a flow that meets those below:
    /// the added one must decide, or the order on the page is not the function's.
    @Test(arguments: Direction.allCases)
    func `the first row that matches decides`(_ direction: Direction) throws {
        let rows = try #require(tables[direction])
        var situation = Situation(direction)
        for row in rows.reversed() {
            situation.meet(row.reason)
            let verdict = situation.plan.verdict(for: situation.flow)
            #expect(verdict.reason == row.reason)
            #expect(row.verdict.hasPrefix(verb(of: verdict.action)), "\(row.reason)")
            #expect(row.meaning == row.reason.meaning(direction))
        }
    }

    private func verb(of action: Action) -> String {
        switch action {
        case .pass: "pass"
        case .drop: "drop"
        case .redirectOutbound: "redirect outbound"
        case .redirectInbound: "redirect inbound"
        case .redirectDNS: "redirect to the DNS port"
        }
    }
}

/// A row of a table on the page.
private struct Row {
    let reason: Reason
    let meaning: String
    let verdict: String

    init(_ line: Substring) throws {
        let cells = line.split(separator: "|").map { cell in
            String(cell.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
        }
        try #require(cells.count == 3, "\(line)")
        let name = cells[0].filter { $0 != "`" }
        reason = try #require(Reason.allCases.first { $0.description == name }, "\(name)")
        meaning = cells[1]
        verdict = cells[2]
    }
}

/// A plan and a flow that grow together until they meet every row of a table.
private struct Situation {
    var plan = Preset.fsm.plan(ownAddresses: [own])
    var flow: Flow
    private var selection: WritableKeyPath<RedirectionPlan, Selection>
    private static let own = IPAddress(ipv4: 0x0a00_0002)
    private static let other = IPAddress(ipv4: 0xc000_0207)

    init(_ direction: Direction) {
        let isOutbound = direction == .outbound
        let workload = Endpoint(Self.own, isOutbound ? 40_000 : 80)
        let peer = Endpoint(Self.other, isOutbound ? 80 : 40_000)
        flow = Flow(
            direction, from: isOutbound ? workload : peer, to: isOutbound ? peer : workload,
            owner: isOutbound ? Owner(uid: 1000, gid: 1000) : nil)
        selection = isOutbound ? \.outbound : \.inbound
    }

    /// Makes the row of this name match, whatever else already does.
    mutating func meet(_ reason: Reason) {
        switch reason {
        case .disabled: plan.isEnabled = false
        case .dns: meetDNS()
        case .passthrough: meetPassthrough()
        case .uidPort:
            plan.ownerPortExclusions = [OwnerPortExclusion(uids: [1000], ports: [80])]
        case .protocol: flow.protocol = .udp
        case .family: plan.families[.ipv4] = .pass
        case .selfCall, .ownAddress: flow.destination.address = Self.own
        case .sidecar: flow.owner?.uid = 1500
        case .loopback: meetLoopback()
        case .uid: plan.excludedUIDs = [1000]
        case .gid: plan.excludedGIDs = [1000]
        case .interface: plan[keyPath: selection].excludedInterfaces = ["eth0"]
        case .cidrExcluded, .sourceExcluded:
            plan[keyPath: selection].excludedNetworks = [.all(.ipv4)]
        case .portExcluded: plan[keyPath: selection].excludedPorts = [80, 15003]
        case .notIncluded: plan[keyPath: selection].includedPorts = []
        case .sidecarPort: flow.destination.port = 15003
        case .outbound, .inbound: break
        }
    }

    private mutating func meetDNS() {
        plan.dns = DNSCapture(port: 15053)
        flow.destination.port = 53
        flow.owner?.uid = 1000
    }

    private mutating func meetPassthrough() {
        plan.sidecar.passthroughSources = [flow.source.address]
    }

    private mutating func meetLoopback() {
        switch flow.direction {
        case .outbound: flow.destination.address = .loopback(.ipv4)
        case .inbound: flow.interface = "lo"
        }
    }
}
