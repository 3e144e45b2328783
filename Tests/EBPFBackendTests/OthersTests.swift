// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import KernelTestSupport
import LibBPF
import LinuxKernel
import RedirectionEngine
import SystemPackage
import Testing

/// Programs of others on the cgroups around a workload, attached by bpftool(8), are found and named.
///
/// They let everything pass, and the cgroups are the test's own: nobody lives there.
@Suite(.requiresKernel, .timeLimit(.minutes(1))) struct OthersTests {
    /// A node's cgroup with a pod's in it.
    private final class Cgroups {
        let node: Cgroup
        let pod: Cgroup

        init() throws {
            node = try Cgroup.createUnique(prefix: "swerve-test")
            pod = node.child("pod")
            try pod.create()
        }

        deinit {
            try? pod.remove()
            try? node.remove()
        }

        /// What is found on them; what the machine has above them is not ours to judge.
        func others(attachingTo target: Cgroup) -> [ForeignHook] {
            EBPFBackend.others(attachingTo: target, leaf: pod).filter {
                $0.place.hasPrefix(node.path)
            }
        }
    }

    private let cgroups: Cgroups

    init() throws { cgroups = try Cgroups() }

    private func load(_ name: String) throws -> BPFProgram {
        try BPFProgram.load(
            .cgroupSocketAddress, .connect4, instructions: [.returnValue(1), .exit], name: name)
    }

    /// Attaches a program as others do; `sharing` is `multi`, `override` or nothing.
    private func attach(_ program: BPFProgram, to cgroup: Cgroup, _ sharing: String...) throws {
        let words = ["bpftool", "cgroup", "attach", cgroup.path, "connect4", "id", "\(program.id)"]
        let result = try StockTool.run(words + sharing, in: .current())
        try #require(result.status == 0, "\(result.output)")
    }

    @Test func `where nobody was, nobody is found`() {
        #expect(cgroups.others(attachingTo: cgroups.node).isEmpty)
    }

    @Test func `a socket load balancer below runs before ours`() throws {
        let balancer = try load("cil_sock4_conne")
        try attach(balancer, to: cgroups.pod, "multi")
        let found = try #require(cgroups.others(attachingTo: cgroups.node).first)
        #expect(found.name == "program cil_sock4_conne (id \(balancer.id))")
        #expect(found.place == "\(cgroups.pod.path), connect4")
        #expect(found.effect == "runs before ours, and decides first where connections go")
        #expect(found.precedes == Set(Mechanism.allCases))
        #expect(found.blocks.isEmpty)
    }

    @Test func `beside ours, who was attached first runs first`() throws {
        let ours = try load("swerve_connect4")
        let link = try BPFLink.attach(ours, to: cgroups.node, .connect4)
        #expect(cgroups.others(attachingTo: cgroups.node).isEmpty)
        try attach(try load("late"), to: cgroups.node, "multi")
        #expect(cgroups.others(attachingTo: cgroups.node).map(\.precedes) == [[]])
        withExtendedLifetime(link) {}

        try attach(try load("early"), to: cgroups.pod, "multi")
        let second = try BPFLink.attach(ours, to: cgroups.pod, .connect4)
        let found = cgroups.others(attachingTo: cgroups.pod)
        #expect(found.map(\.precedes) == [[], Set(Mechanism.allCases)])
        withExtendedLifetime(second) {}
    }

    @Test func `one that was attached to be alone keeps ours out, and is named`() throws {
        let program = try load("lonely")
        try attach(program, to: cgroups.node)
        for target in [cgroups.node, cgroups.pod] {
            let found = try #require(cgroups.others(attachingTo: target).first)
            #expect(found.name == "program lonely (id \(program.id))")
            #expect(found.blocks == [.ebpf])
            // The kernel agrees.
            let error = #expect(throws: KernelError.self) {
                _ = try BPFLink.attach(try load("swerve_probe"), to: target, .connect4)
            }
            #expect(error?.errno == .notPermitted)
        }
        let found = cgroups.others(attachingTo: cgroups.pod)
        let choice = try choose(
            .automatic, among: [Assessment(.ebpf, []), Assessment(.nft, [])],
            on: KernelVersion(6, 18), beside: found)
        #expect(choice.mechanism == .nft)
        #expect(choice.reason.contains("program lonely (id \(program.id))"))
    }

    @Test func `one that would be run no more keeps ours out`() throws {
        try attach(try load("replaceable"), to: cgroups.node, "override")
        let found = try #require(cgroups.others(attachingTo: cgroups.pod).first)
        #expect(found.blocks == [.ebpf])
        #expect(found.effect == "allows one program only, and ours below it would run in its place")
    }
}
