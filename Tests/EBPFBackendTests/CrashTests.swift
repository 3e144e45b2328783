// SPDX-License-Identifier: Apache-2.0

import CSwerveABI
import EBPFBackend
import KernelTestSupport
import LibBPF
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Synchronization
import SystemPackage
import Testing

#if canImport(Glibc)
import Glibc
#endif

/// A process is killed before each step that changes the kernel; the next one goes on from there.
@Suite(.requiresKernel, .serialized) struct CrashTests {
    /// What the process is about when it is killed.
    enum Errand: String, CaseIterable, Codable {
        case makesPins, appliesByLookup, appliesByFilters, takesOlderPlace, takesBuildsPlace

        var inbound: InboundMethod {
            self == .appliesByFilters ? .trafficControl : .socketLookup
        }

        /// Every step by default where a pod changes.
        ///
        /// Pins are dozens of steps of one kind: a few of them, and every one when
        /// `SWERVE_EVERY_STEP` is set.
        var stride: Int {
            let changesPod = self == .appliesByLookup || self == .appliesByFilters
            let isAsked = unsafe getenv("SWERVE_EVERY_STEP") != nil
            return changesPod || isAsked ? 1 : 7
        }
    }

    @Test(.timeLimit(.minutes(15)), arguments: Errand.allCases)
    func `whoever comes after a kill finds a way, and leaves nothing behind`(
        _ errand: Errand
    ) async throws {
        let site = try CrashSite(errand)
        try await site.prepare()
        let steps = try await countSteps { try await site.run() }
        try await site.checkConvergence("not killed")
        #expect(steps > 5)
        for step in stride(from: 1, through: steps, by: errand.stride) {
            try await site.prepare()
            let plot = site.plot
            await #expect(processExitsWith: .signal(SIGKILL)) {
                [step = step as Int, plot = plot as CrashSite.Plot] in
                try await killSelf(before: step) { try await CrashSite(plot).run() }
            }
            try await site.checkConvergence("killed before step \(step) of \(steps)")
        }
    }
}

/// Counts the steps that change the kernel.
private func countSteps(_ body: () async throws -> Void) async throws -> Int {
    let steps = Atomic(0)
    try await ChangeLog { _ in steps.add(1, ordering: .relaxed) }.listening(to: body)
    return steps.load(ordering: .relaxed)
}

private func killSelf(before fatal: Int, _ body: () async throws -> Void) async throws {
    let steps = Atomic(0)
    try await ChangeLog { _ in
        if steps.add(1, ordering: .relaxed).newValue == fatal { kill(getpid(), SIGKILL) }
    }.listening(to: body)
}

/// Where it happens: a pod, a cgroup and a bpf filesystem that outlive the one who is killed.
private final class CrashSite: Sendable {
    /// The same, for another process.
    struct Plot: Codable, Sendable {
        let errand: CrashTests.Errand
        let cgroup: String
        let pins: String
        let namespace: String
    }

    let plot: Plot
    private let workload: Workload
    private let held: (pod: TestPod, files: TestBPFFileSystem)?

    init(_ errand: CrashTests.Errand) throws {
        let pod = try TestPod.create()
        let files = try TestBPFFileSystem()
        plot = Plot(
            errand: errand, cgroup: try Cgroup.createUnique(prefix: "swerve-test").path,
            pins: files.sharedPath + "/swerve",
            namespace: "/proc/\(getpid())/fd/\(pod.namespace.rawDescriptor)")
        workload = pod.workload
        held = (pod, files)
    }

    init(_ plot: Plot) throws {
        self.plot = plot
        workload = Workload(id: "pod", namespace: try NetworkNamespace.open(plot.namespace))
        held = nil
    }

    deinit {
        if held != nil { try? Cgroup(path: plot.cgroup).remove() }
    }

    private func load(version: UInt32? = nil, build: UInt64? = nil) async throws -> EBPFBackend {
        try await EBPFBackend.load(
            attachingTo: Cgroup(path: plot.cgroup), inbound: plot.errand.inbound,
            pins: BPFPins(in: plot.pins, version: version, build: build))
    }

    /// Its own, and one that needs everything a plan can need.
    private static let plan = Preset.fsm.plan(ownAddresses: [IPAddress(ipv4: 0x0a4d_0002)])

    private var demanding: RedirectionPlan {
        var plan = Self.plan
        plan.sidecar.uids = [1500, 1501]
        plan.sidecar.inboundPort = 16003
        plan.outbound.excludedPorts = [22]
        plan.outbound.excludedNetworks = [.all(.ipv6)]
        plan.ownerPortExclusions = [
            OwnerPortExclusion(uids: [7], ports: [80], protocols: [.tcp])
        ]
        if plot.errand.inbound == .socketLookup {
            plan.inboundMode = .transparent(mark: 7, table: 133)
        }
        return plan
    }

    /// What was before the one who is killed.
    func prepare() async throws {
        switch plot.errand {
        case .makesPins: break
        case .appliesByLookup, .appliesByFilters: _ = try await load()
        case .takesOlderPlace: try await load(version: 1).apply(Self.plan, to: workload)
        case .takesBuildsPlace: try await load(build: 1).apply(Self.plan, to: workload)
        }
    }

    /// The errand, which may come to a sudden end.
    func run() async throws {
        let backend = try await load()
        switch plot.errand {
        case .makesPins, .takesBuildsPlace: break
        case .appliesByLookup, .appliesByFilters:
            try await backend.apply(Self.plan, to: workload)
            try await backend.apply(demanding, to: workload)
            _ = try await backend.retire(from: workload)
            try await backend.remove(from: workload)
        case .takesOlderPlace:
            try await backend.apply(Self.plan, to: workload)
            try await backend.forget(allBut: [workload])
        }
    }

    /// The next process applies, and removes; then a cleanup finds what only a cleanup may.
    func checkConvergence(_ when: Comment) async throws {
        do {
            let next = try await load()
            try await next.apply(Self.plan, to: workload)
            #expect(try await next.installed(in: workload) == Self.plan.fingerprint, when)
            #expect(try await next.drift(from: Self.plan, in: workload) == [], when)
            try await next.remove(from: workload)
            let left = try await next.occupancy()
            #expect(left.values.allSatisfy { $0 == 0 }, "\(when): \(left)")
        }
        let directory = Directory(path: plot.pins)
        #expect(directory.names() == ["v\(SWERVE_ABI_VERSION)"], when)
        #expect(directory.child("v\(SWERVE_ABI_VERSION)/pods").names() == [], when)
        let sweeper = EBPFSweeper(pins: plot.pins)
        #expect(try await sweeper.remains(in: workload.namespace, named: "pod") == [], when)
        let qdiscs = try StockTool.run("tc", "qdisc", "show", in: workload.namespace).output
        #expect(!qdiscs.contains("clsact"), when)
        let node = Node(cgroup: Cgroup(path: plot.cgroup), pins: plot.pins, state: "")
        #expect(try await !sweeper.remains(on: node).isEmpty, when)
        try await sweeper.sweep(node)
        #expect(try await sweeper.remains(on: node) == [], when)
    }
}
