// SPDX-License-Identifier: Apache-2.0

import CSwerveABI
import EBPFBackend
import KernelTestSupport
import LibBPF
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import Testing

/// What others do to our programs, pins, entries and filters is noticed, and repaired by `apply`.
@Suite(.requiresKernel) struct DriftTests {
    /// What somebody does, and which part of the kernel is then said to be amiss.
    enum Mischief: String, CaseIterable, Codable {
        case detachesConnect, detachesLookup, unpinsLink, unpinsMap, deletesEntry, changesEntry
        case changesPorts, deletesCounts, removesRouting, removesReturn

        var part: KernelPart {
            switch self {
            case .detachesConnect, .detachesLookup: .program
            case .unpinsLink, .unpinsMap: .pin
            case .deletesEntry, .changesEntry, .changesPorts, .deletesCounts: .entries
            case .removesRouting, .removesReturn: .routing
            }
        }
    }

    @Test(.timeLimit(.minutes(2)), arguments: Mischief.allCases, [false, true])
    func `mischief is noticed, and repaired by the same plan`(
        _ mischief: Mischief, afterRestart restarts: Bool
    ) async {
        await #expect(processExitsWith: .success) { [mischief, restarts] in
            try await withPinnedPod { world in
                var plan = world.pod.plan
                plan.outbound.excludedPorts = [22]
                if mischief == .removesRouting {
                    plan.inboundMode = .transparent(mark: 7, table: 133)
                }
                var backend: EBPFBackend? = try await world.load()
                try await backend?.apply(plan, to: world.pod.workload)
                if restarts {
                    backend = nil
                    backend = try await world.load()
                }
                let present = try #require(backend)
                #expect(try await present.drift(from: plan, in: world.pod.workload) == [])
                try make(mischief, world)
                let drift = try await present.drift(from: plan, in: world.pod.workload)
                #expect(Set(drift.map(\.part)) == [mischief.part], "\(drift)")
                try await present.apply(plan, to: world.pod.workload)
                #expect(try await present.drift(from: plan, in: world.pod.workload) == [])
                if mischief != .removesRouting { try world.checkRedirection() }
                try await present.remove(from: world.pod.workload)
                let left = try await present.occupancy()
                #expect(left.values.allSatisfy { $0 == 0 }, "\(left)")
            }
        }
    }

    @Test(.timeLimit(.minutes(2)), arguments: ["filter", "qdisc"], [false, true])
    func `a filter that is gone is noticed, and repaired`(
        _ what: String, afterRestart restarts: Bool
    ) async {
        await #expect(processExitsWith: .success) { [what, restarts] in
            try await withPinnedPod { world in
                let workload = world.pod.workload
                var backend: EBPFBackend? = try await world.load(inbound: .trafficControl)
                try await backend?.apply(world.pod.plan, to: workload)
                if restarts {
                    backend = nil
                    backend = try await world.load(inbound: .trafficControl)
                }
                let present = try #require(backend)
                #expect(try await present.drift(from: world.pod.plan, in: workload) == [])
                let words =
                    what == "qdisc"
                    ? ["tc", "qdisc", "del", "dev", "eth0", "clsact"]
                    : ["tc", "filter", "del", "dev", "eth0", "ingress"]
                #expect(try StockTool.run(words, in: world.pod.namespace).status == 0)
                let drift = try await present.drift(from: world.pod.plan, in: workload)
                #expect(drift.map(\.part) == [what == "qdisc" ? .qdisc : .program], "\(drift)")
                try await present.apply(world.pod.plan, to: workload)
                #expect(try await present.drift(from: world.pod.plan, in: workload) == [])
                try world.checkRedirection()
                try await present.remove(from: workload)
                let qdiscs = try StockTool.run(
                    "tc", "qdisc", "show", "dev", "eth0", in: world.pod.namespace)
                #expect(!qdiscs.output.contains("clsact"), "\(qdiscs.output)")
            }
        }
    }
}

/// Does it, as somebody who knows only the kernel.
private func make(_ mischief: DriftTests.Mischief, _ world: PinnedWorld) throws {
    let pins = world.pins + "/v\(SWERVE_ABI_VERSION)"
    func map(_ name: String) throws -> BPFMap {
        try #require(try BPFMap.open(pinned: "\(pins)/maps/\(name)", name: name))
    }
    let key = try world.pod.namespace.cookie()
    switch mischief {
    case .detachesConnect:
        let path = "\(pins)/links/swerve_connect4"
        try #require(try BPFLink.open(pinned: path, .connect4)).detach()
    case .detachesLookup:
        let path = "\(pins)/pods/\(key)/sk_lookup"
        try #require(try BPFLink.open(pinned: path, .socketLookup)).detach()
    case .unpinsLink: try Directory(path: "\(pins)/links").remove("swerve_sockops")
    case .unpinsMap: try Directory(path: "\(pins)/maps").remove("swerve_pods")
    case .deletesEntry: try map("swerve_pods").delete(key)
    case .changesEntry:
        let pods = try map("swerve_pods")
        var entry = try #require(try pods.lookup(key, as: swerve_pod.self))
        entry.outbound_port += 1
        try pods.update(key, entry)
    case .changesPorts:
        let sets = try map("swerve_port_sets")
        let set = try #require(try sets.keys(as: UInt32.self).first)
        let id = try #require(try sets.lookup(set, as: UInt32.self))
        try BPFMap.open(id: id).update(UInt32(0), swerve_port_words())
    case .deletesCounts: try map("swerve_counts").delete(key)
    case .removesRouting:
        try TransparentRouting.remove(from: world.pod.namespace, for: .programs)
    case .removesReturn:
        let words = ["ip", "-6", "route", "del", "local", "::1", "dev", "eth0", "table", "local"]
        #expect(try StockTool.run(words, in: world.pod.namespace).status == 0)
    }
}
