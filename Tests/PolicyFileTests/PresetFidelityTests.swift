// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import KernelTestSupport
import LinuxKernel
import PolicyFile
import RedirectionModel
import Testing

/// Presets held against what each mesh publishes: `Published` has its rules, in our own writing.
@Suite struct PresetFidelityTests {
    struct Missing: Error { let path: String }

    /// A mesh without rules for a family has a file that says so.
    static func text(_ name: String, _ family: AddressFamily) throws -> String {
        let source = #filePath.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" }
        let path = "\(source)/Published/\(name).\(family == .ipv4 ? "v4" : "v6")"
        guard let bytes = FileManager.default.contents(atPath: path) else {
            throw Missing(path: path)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    @Test(arguments: PublishedCase.all)
    func `a preset does what the mesh's rules do, but where it says why`(
        _ published: PublishedCase
    ) throws {
        let rules = [
            AddressFamily.ipv4: try PublishedRules(Self.text(published.name, .ipv4)),
            .ipv6: try PublishedRules(Self.text(published.name, .ipv6)),
        ]
        var policy = Policy()
        policy.preset = published.preset.id
        published.say(&policy)
        let plan = try policy.resolved(ownAddresses: FlowGrid.own).plan
        var uses: [String: Int] = [:]
        for flow in FlowGrid.flows(for: published.preset) {
            let theirs = try #require(rules[flow.destination.address.family]).outcome(of: flow)
            let verdict = plan.verdict(for: flow)
            let ours = verdict.action.outcome
            let deviations = published.deviations.filter { $0.covers(flow, plan) }
            if ours == theirs {
                #expect(deviations.isEmpty, "\(flow) \(verdict): no deviation")
            } else {
                let fits = deviations.first {
                    $0.published ?? theirs == theirs && $0.ours ?? ours == ours
                }
                #expect(fits != nil, "\(flow): \(theirs) there, \(verdict) here")
                uses[fits?.name ?? "", default: 0] += 1
            }
        }
        #expect(Set(uses.keys) == Set(published.deviations.map(\.name)))
    }

    /// The instrument first: a rule taken out, and a preset changed, must show.
    @Test func `a wrong preset is seen`() throws {
        let rules = try PublishedRules(Self.text("linkerd", .ipv4))
        var plan = Preset.linkerd.plan(ownAddresses: FlowGrid.own)
        let flows = FlowGrid.flows(for: .linkerd).filter {
            $0.destination.address.family == .ipv4
                && ($0.direction == .outbound || $0.destination.port != 4143)
        }
        func differences() throws -> Int {
            try flows.filter { try plan.verdict(for: $0).action.outcome != rules.outcome(of: $0) }
                .count
        }
        #expect(try differences() == 0)
        plan.inbound.excludedPorts = [4567]
        #expect(try differences() == 1)
        plan.sidecar.redirectsSelfCalls = true
        #expect(try differences() > 1)
    }

    @Test func `every deviation, number and annotation is documented`() throws {
        let root = #filePath.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" }
        let bytes = try #require(FileManager.default.contents(atPath: root + "/docs/presets.md"))
        let page = String(decoding: bytes, as: UTF8.self)
        for deviation in PublishedCase.all.flatMap(\.deviations) {
            #expect(page.contains("| `\(deviation.name)` |"))
        }
        for preset in Preset.all {
            let row = try #require(
                page.split(separator: "\n").first { $0.hasPrefix("| `\(preset.name)` |") })
            for number in [preset.sidecar.outboundPort, preset.sidecar.inboundPort] {
                #expect(row.contains(" \(number) "), "\(preset.name)")
            }
            #expect(row.contains("\(preset.sidecar.uids)"))
            for key in PolicyAnnotations.keys(of: preset.id) {
                let name = key.drop { $0 != "/" }.dropFirst()
                #expect(page.contains("\(name)`"), "\(key)")
            }
        }
    }
}

@Suite(.requiresKernel, .timeLimit(.minutes(5))) struct PublishedRulesKernelTests {
    @Test(arguments: PublishedCase.all.map(\.name))
    func `the stock tools load the published rules`(_ name: String) throws {
        let namespace = try NetworkNamespace.create()
        let ipv4 = try PresetFidelityTests.text(name, .ipv4)
        let ipv6 = try PresetFidelityTests.text(name, .ipv6)
        try #require(!ipv4.isEmpty)
        let loaded = StockTool.Result(status: 0, output: "")
        #expect(try StockTool.run("iptables-restore", input: ipv4, in: namespace) == loaded)
        #expect(try StockTool.run("ip6tables-restore", input: ipv6, in: namespace) == loaded)
        let saved = try StockTool.run("iptables-save", in: namespace).output
        let rules = ipv4.split(separator: "\n").filter { $0.hasPrefix("-A") }.count
        #expect(saved.split(separator: "\n").filter { $0.hasPrefix("-A") }.count == rules)
    }
}

extension Action {
    fileprivate var outcome: PublishedRules.Outcome {
        switch self {
        case .redirectOutbound(let port), .redirectInbound(let port), .redirectDNS(let port):
            .redirect(port)
        case .pass, .drop: .pass
        }
    }
}
