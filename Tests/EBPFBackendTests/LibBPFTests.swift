// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LibBPF
import LinuxKernel
import SystemPackage
import Testing

/// Ten-line programs and maps of our own, to show that the wrappers say what the kernel does.
@Suite(.requiresKernel, .timeLimit(.minutes(5)))
struct LibBPFTests {
    private static let allow: [BPFInstruction] = [.returnValue(1), .exit]

    @Test func `a map gives back what was put in, and forgets what was removed`() throws {
        let map = try BPFMap.create(.hash, name: "t", keySize: 4, valueSize: 8, maxEntries: 4)
        try map.update(UInt32(7), UInt64(70), .noExist)
        try map.update(UInt32(8), UInt64(80))
        #expect(try map.lookup(UInt32(7), as: UInt64.self) == 70)
        #expect(try map.lookup(UInt32(9), as: UInt64.self) == nil)
        #expect(Set(try map.keys(as: UInt32.self)) == [7, 8])
        #expect(throws: KernelError.self) { try map.update(UInt32(7), UInt64(0), .noExist) }
        #expect(try map.delete(UInt32(7)))
        #expect(try !map.delete(UInt32(7)))
        #expect(try map.count() == 1)
    }

    @Test(arguments: [BPFMapType.array, .hash])
    func `many entries are written at once`(_ type: BPFMapType) throws {
        let map = try BPFMap.create(type, name: "t", keySize: 4, valueSize: 4, maxEntries: 1000)
        let keys = Array(UInt32(0)..<1000)
        try map.update(keys: keys, values: keys.map { $0 * 3 })
        #expect(try map.lookup(UInt32(999), as: UInt32.self) == 2997)
        #expect(try map.count() == 1000)
    }

    @Test func `the longest prefix wins`() throws {
        /// struct bpf_lpm_trie_key with an IPv4 address, in the order of its bytes.
        struct Prefix: BitwiseCopyable {
            let length: UInt32
            let address: UInt32
            init(_ length: UInt32, _ address: UInt32) {
                self.length = length
                self.address = address.bigEndian
            }
        }
        let map = try BPFMap.createLPM(name: "t", keySize: 8, valueSize: 4, maxEntries: 8)
        try map.update(
            keys: [Prefix(8, 0x0a00_0000), Prefix(24, 0x0a01_0200)], values: [UInt32(8), 24])
        #expect(try map.lookup(Prefix(32, 0x0a01_0203), as: UInt32.self) == 24)
        #expect(try map.lookup(Prefix(32, 0x0a09_0203), as: UInt32.self) == 8)
        #expect(try map.lookup(Prefix(32, 0x0b09_0203), as: UInt32.self) == nil)
    }

    @Test func `an inner map is reached by its id`() throws {
        let inner = try BPFMap.createArray(name: "inner", valueSize: 4, entries: 1)
        let outer = try BPFMap.create(
            .hashOfMaps, name: "outer", keySize: 4, valueSize: 4, maxEntries: 2, inner: inner)
        try outer.update(UInt32(1), descriptor: inner.rawDescriptor)
        #expect(try outer.lookup(UInt32(1), as: UInt32.self) == inner.id)
    }

    @Test func `a counter of each CPU is summed over all`() throws {
        let map = try BPFMap.create(
            .perCPUArray, name: "t", keySize: 4, valueSize: 8, maxEntries: 2)
        let cpus = try map.perCPU(UInt32(1), as: UInt64.self).count
        try map.setPerCPU(UInt32(1), (1...cpus).map { UInt64($0) })
        #expect(try map.sum(at: 1) == UInt64(cpus * (cpus + 1) / 2))
        #expect(try map.sum(at: 0) == 0)
    }

    @Test func `a refused program says why`() throws {
        let error = #expect(throws: KernelError.self) {
            // Returns without a value in r0.
            try BPFProgram.load(.cgroupSocketAddress, .connect4, instructions: [.exit])
        }
        #expect(error?.detail?.contains("R0 !read_ok") == true)
    }

    @Test func `a link detaches when it goes`() throws {
        let cgroup = try Cgroup.createUnique(prefix: "swerve-libbpf")
        defer { try? cgroup.remove() }
        let program = try BPFProgram.load(.cgroupSocketAddress, .connect4, instructions: Self.allow)
        let other = try BPFProgram.load(.cgroupSocketAddress, .connect4, instructions: Self.allow)
        try withLink(program, cgroup) { link throws(KernelError) in
            #expect(try attachedPrograms(cgroup) == [program.id])
            try link.update(other)
            #expect(try attachedPrograms(cgroup) == [other.id])
        }
        #expect(try attachedPrograms(cgroup) == [])
    }

    private func attachedPrograms(_ cgroup: Cgroup) throws(KernelError) -> [UInt32] {
        try BPFLink.programs(on: cgroup, .connect4)
    }

    /// Holds a link for as long as `body` runs and not a moment longer.
    private func withLink(
        _ program: BPFProgram, _ cgroup: Cgroup, _ body: (BPFLink) throws(KernelError) -> Void
    ) throws(KernelError) {
        let link = try BPFLink.attach(program, to: cgroup, .connect4)
        try withExtendedLifetime(link) { () throws(KernelError) in try body(link) }
    }

    @Test func `a namespace has its own socket lookup`() throws {
        let namespace = try NetworkNamespace.create()
        let program = try BPFProgram.load(.socketLookup, .socketLookup, instructions: Self.allow)
        let link = try BPFLink.attach(program, to: namespace, .socketLookup)
        try link.update(try BPFProgram.load(.socketLookup, .socketLookup, instructions: Self.allow))
    }

    @Test func `a clsact of somebody else stays, our own goes with its last filter`() throws {
        let namespace = try NetworkNamespace.create()
        var links = try RouteNetlink.open(in: namespace)
        let loopback = try links.index(of: "lo")
        let program = try BPFProgram.load(.trafficControl, instructions: Self.allow)
        let slot = TrafficControlHook.Slot(.ingress, handle: 1, priority: 1)
        try namespace.run { () throws(KernelError) in
            let ours = try TrafficControlHook.create(on: loopback)
            #expect(ours.madeQdisc)
            let theirs = try TrafficControlHook.create(on: loopback)
            #expect(!theirs.madeQdisc)

            try ours.attach(program, slot)
            #expect(try ours.program(in: slot) == program.id)
            #expect(try !theirs.destroyIfUnused(), "not made by this one")
            #expect(try !ours.destroyIfUnused(), "a filter is left")

            try ours.detach(slot)
            try ours.detach(slot)
            #expect(try ours.program(in: slot) == nil)
            #expect(try ours.destroyIfUnused())
            #expect(try TrafficControlHook.create(on: loopback).madeQdisc)
        }
    }

    @Test func `a probe tells what a program type may call`() {
        let cookie = BPFHelper.getNetnsCookie
        #expect(BPFProbe.helper(cookie, in: .cgroupSocketAddress, .connect4) == .yes)
        #expect(BPFProbe.program(.socketLookup, .socketLookup) == .yes)
        #expect(BPFProbe.map(.socketStorage) == .yes)
        // Asking a connect program to redirect packets is what no kernel allows.
        guard case .no = BPFProbe.helper(.redirectPeer, in: .cgroupSocketAddress, .connect4) else {
            Issue.record("redirect_peer in a connect program was not refused")
            return
        }
        // A hook that belongs to another type.
        guard case .no = BPFProbe.program(.cgroupSocketAddress, .sockOps) else {
            Issue.record("connect programs at the sockops hook were not refused")
            return
        }
    }
}
