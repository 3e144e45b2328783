// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import KernelTestSupport
import LibBPF
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import Testing

/// What the tc programs make of a packet, given to them without a network.
@Suite(.requiresKernel, .timeLimit(.minutes(5)))
struct TrafficControlProgramTests {
    @Test(arguments: AddressFamily.allCases, [0, 1, 8])
    func `ports change both ways, and checksums with them`(
        _ family: AddressFamily, _ extensions: Int
    ) async {
        await #expect(processExitsWith: .success) { [family, extensions] in
            try await withTrafficControl { pod, backend in
                let bench = try Bench(pod, family, extensions: family == .ipv4 ? 0 : extensions)
                let first = try bench.arrive(at: 8080)
                #expect(first == Ports(45_000, 15003))
                #expect(try bench.arrive(at: 8080) == first, "a SYN sent again")
                // The same port of the peer, to another of the pod: it gets another one.
                let second = try bench.arrive(at: 9090)
                #expect(second.destination == 15003 && second.source != 45_000)
                #expect(try bench.arrive(at: 9090, .ack) == second)
                #expect(try bench.leave(first) == Ports(8080, 45_000))
                #expect(try bench.leave(second) == Ports(9090, 45_000))
                #expect(try await backend.flowEntries() == 4)
            }
        }
    }

    @Test(arguments: AddressFamily.allCases)
    func `the first fragment is rewritten, the later ones are left alone`(
        _ family: AddressFamily
    ) async {
        await #expect(processExitsWith: .success) { [family] in
            try await withTrafficControl { pod, _ in
                let bench = try Bench(pod, family)
                let segment = bench.segment(8080, .syn, payload: Array(0..<100))
                let first = bench.frame(Array(segment.prefix(24)), .init(hasMore: true))
                let rest = bench.frame(
                    Array(segment.dropFirst(24)), .init(offset: 24, hasMore: false))
                let rewritten = try bench.ingress.run(on: first)
                #expect(rewritten.result == Bench.goesOn)
                let whole = Array(rewritten.packet.suffix(24)) + segment.dropFirst(24)
                #expect(Ports(whole) == Ports(45_000, 15003))
                #expect(bench.checksum(whole) == 0)
                let untouched = try bench.ingress.run(on: rest)
                #expect(untouched.result == Bench.goesOn && untouched.packet == rest)
            }
        }
    }

    @Test(arguments: AddressFamily.allCases)
    func `what hides its ports does not get around the sidecar`(_ family: AddressFamily) async {
        await #expect(processExitsWith: .success) { [family] in
            try await withTrafficControl { pod, _ in
                let bench = try Bench(pod, family)
                let segment = bench.segment(8080, .syn)
                // Without the flags, nobody can tell that it is a SYN.
                let tiny = bench.frame(Array(segment.prefix(8)), .init(hasMore: true))
                #expect(try bench.ingress.run(on: tiny).result == Bench.dropped)
                guard family == .ipv6 else { return }
                let long = SyntheticPacket.frame(
                    from: bench.peer.address, to: bench.own.address, segment, extensions: 9)
                #expect(try bench.ingress.run(on: long).result == Bench.dropped)
            }
        }
    }

    @Test(arguments: AddressFamily.allCases)
    func `what is none of our business passes untouched`(_ family: AddressFamily) async {
        await #expect(processExitsWith: .success) { [family] in
            try await withTrafficControl { pod, backend in
                let bench = try Bench(pod, family)
                let syn = bench.segment(8080, .syn)
                let (peer, own) = (bench.peer.address, bench.own.address)
                let packets = [
                    bench.frame(bench.segment(8080, .ack)),  // of a connection from before
                    bench.frame(bench.segment(15901, .syn)),  // a port of the sidecar's own
                    bench.frame(Array(syn.prefix(12))),  // not whole
                    SyntheticPacket.frame(
                        from: peer, to: own, syn, protocol: SyntheticPacket.udp),
                    SyntheticPacket.frame(from: own, to: peer, syn),  // for somebody else
                    [UInt8](repeating: 2, count: 12) + [0x08, 0x06] + syn,  // ARP
                    // A SYN within another packet: IPIP, or IPv6 in either.
                    SyntheticPacket.frame(
                        from: peer, to: own, Array(bench.frame(syn).dropFirst(14)),
                        protocol: family == .ipv4 ? 4 : 41),
                    // A tag that the kernel has not taken off: no address of ours is behind it.
                    Array(bench.frame(syn).prefix(12)) + [0x81, 0, 0, 7]
                        + Array(bench.frame(syn).dropFirst(12)),
                ]
                for packet in packets {
                    for program in [bench.ingress, bench.egress] {
                        let outcome = try program.run(on: packet)
                        #expect(outcome.result == Bench.goesOn && outcome.packet == packet)
                    }
                }
                #expect(try await backend.flowEntries() == 0)
            }
        }
    }

    @Test func `a family that the plan drops is dropped`() async {
        await #expect(processExitsWith: .success) {
            try await withTrafficControl { pod, backend in
                var plan = pod.plan
                plan.families[.ipv6] = .drop
                try await backend.apply(plan, to: pod.workload)
                let six = try Bench(pod, .ipv6)
                let outcome = try six.ingress.run(on: six.frame(six.segment(8080, .syn)))
                #expect(outcome.result == Bench.dropped)
                #expect(try Bench(pod, .ipv4).arrive(at: 8080) == Ports(45_000, 15003))
            }
        }
    }

    @Test(arguments: AddressFamily.allCases)
    func `an error names the ports that its reader knows`(_ family: AddressFamily) async {
        await #expect(processExitsWith: .success) { [family] in
            try await withTrafficControl { pod, _ in
                let bench = try Bench(pod, family)
                let seen = try bench.arrive(at: 8080)
                // About an answer, which the network saw coming from port 8080.
                let answer = bench.quote(
                    Endpoint(bench.own.address, 8080), bench.peer, to: bench.own)
                let arrived = try bench.ingress.run(on: answer)
                #expect(bench.quotedPorts(arrived.packet) == Ports(15003, seen.source))
                // About a packet as the pod saw it.
                let question = bench.quote(
                    bench.peer, Endpoint(bench.own.address, 15003), to: bench.peer)
                let left = try bench.egress.run(on: question)
                #expect(bench.quotedPorts(left.packet) == Ports(45_000, 8080))
                for (before, after) in [(answer, arrived), (question, left)] {
                    #expect(after.result == Bench.goesOn)
                    #expect(bench.messageChecksum(before) == 0)
                    #expect(bench.messageChecksum(after.packet) == 0)
                }
            }
        }
    }
}

/// The ports of a TCP header.
private struct Ports: Equatable {
    let source: UInt16
    let destination: UInt16

    init(_ source: UInt16, _ destination: UInt16) {
        self.source = source
        self.destination = destination
    }

    init(_ segment: [UInt8]) {
        source = UInt16(segment[0]) << 8 | UInt16(segment[1])
        destination = UInt16(segment[2]) << 8 | UInt16(segment[3])
    }
}

/// The programs of a pod, and packets between it and its peer's port 45000.
private struct Bench {
    /// `TC_ACT_UNSPEC` and `TC_ACT_SHOT`, linux/pkt_cls.h.
    static let goesOn: Int32 = -1
    static let dropped: Int32 = 2

    let ingress: BPFProgram
    let egress: BPFProgram
    let peer: Endpoint
    let own: Endpoint
    let extensions: Int

    init(_ pod: TestPod, _ family: AddressFamily, extensions: Int = 0) throws(KernelError) {
        var links = try RouteNetlink.open(in: pod.namespace)
        let link = try links.index(of: "eth0")
        let find = { (direction: TrafficControlHook.Direction) throws(KernelError) in
            let slot = TrafficControlHook.Slot(direction, handle: 1, priority: 0x5357)
            let id = try pod.namespace.run { () throws(KernelError) in
                try TrafficControlHook.create(on: link).program(in: slot)
            }
            return try BPFProgram.open(id: id ?? 0, name: "\(direction)")
        }
        ingress = try find(.ingress)
        egress = try find(.egress)
        peer = Endpoint(pod.peerAddress(family), 45_000)
        own = Endpoint(pod.address(family), 0)
        self.extensions = extensions
    }

    func segment(
        _ port: UInt16, _ flags: SyntheticPacket.Flags, payload: [UInt8] = []
    ) -> [UInt8] {
        SyntheticPacket.segment(
            from: peer, to: Endpoint(own.address, port), flags, payload: payload)
    }

    func frame(_ segment: [UInt8], _ fragment: SyntheticPacket.Fragment? = nil) -> [UInt8] {
        SyntheticPacket.frame(
            from: peer.address, to: own.address, segment, fragment: fragment,
            extensions: extensions)
    }

    func checksum(_ segment: [UInt8]) -> UInt16 {
        SyntheticPacket.checksum(
            segment, SyntheticPacket.tcp, from: peer.address, to: own.address)
    }

    /// Lets a packet for `port` arrive; returns the ports it has then.
    func arrive(at port: UInt16, _ flags: SyntheticPacket.Flags = .syn) throws -> Ports {
        let segment = segment(port, flags, payload: Array("odd".utf8))
        return try pass(frame(segment), through: ingress, segment.count)
    }

    /// Lets the answer to a packet that arrived with `ports` leave; returns the ports it has then.
    func leave(_ ports: Ports) throws -> Ports {
        let segment = SyntheticPacket.segment(
            from: Endpoint(own.address, ports.destination),
            to: Endpoint(peer.address, ports.source), .synAck)
        let frame = SyntheticPacket.frame(
            from: own.address, to: peer.address, segment, extensions: extensions)
        return try pass(frame, through: egress, segment.count)
    }

    private func pass(
        _ frame: [UInt8], through program: BPFProgram, _ size: Int
    ) throws -> Ports {
        let outcome = try program.run(on: frame)
        #expect(outcome.result == Self.goesOn)
        let segment = Array(outcome.packet.suffix(size))
        // The order of the addresses does not matter to a sum.
        #expect(checksum(segment) == 0)
        return Ports(segment)
    }

    /// An error of the peer's, or the pod's, about a packet; eight bytes of TCP are quoted.
    func quote(_ source: Endpoint, _ destination: Endpoint, to reader: Endpoint) -> [UInt8] {
        let start = Array(
            SyntheticPacket.segment(from: source, to: destination, .ack).prefix(8))
        let quoted =
            source.address.family == .ipv4
            ? SyntheticPacket.ipv4(source.address, destination.address, 6, start)
            : SyntheticPacket.ipv6(source.address, destination.address, 6, start)
        let sender = reader == own ? peer : own
        return SyntheticPacket.tooBig(from: sender.address, to: reader.address, about: quoted)
    }

    func quotedPorts(_ frame: [UInt8]) -> Ports { Ports(Array(frame.suffix(8))) }

    /// The checksum of an ICMP message: 0 if it is right.
    func messageChecksum(_ frame: [UInt8]) -> UInt16 {
        guard own.address.family == .ipv6 else {
            return SyntheticPacket.checksum(
                Array(frame.dropFirst(SyntheticPacket.linkHeader + 20)))
        }
        return SyntheticPacket.checksum(
            Array(frame.dropFirst(SyntheticPacket.linkHeader + 40)), 58, from: peer.address,
            to: own.address)
    }
}
