// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import KernelTestSupport
import LibBPF
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import Testing

/// Inbound redirection by rewriting ports: what the packets look like, and who else is there.
@Suite(.requiresKernel, .timeLimit(.minutes(5)))
struct TrafficControlPacketTests {
    @Test func `options before the TCP header are stepped over`() async {
        await #expect(processExitsWith: .success) {
            try await withTrafficControl { pod, _ in
                // Seen after the programs, so the packets had their options when they got there.
                let seen = try PacketFilter(
                    in: pod.namespace,
                    counting: [
                        "four": "ip hdrlength > 5 tcp dport 15003",
                        "hop": "exthdr hbh exists tcp dport 15003",
                        "six": "exthdr dst exists tcp dport 15003",
                    ])
                // Three NOPs and an end (RFC 791); an option for experiments (RFC 4727), to be
                // skipped by those who do not know it.
                try converse(pod, .ipv4, [.ipOptions: [1, 1, 1, 0]])
                let option: [UInt8] = [0, 1, 0x1e, 12] + [UInt8](repeating: 0, count: 12)
                try converse(pod, .ipv6, [.hopByHopOptions: option, .destinationOptions: option])
                for name in ["four", "hop", "six"] { #expect(try seen.count(name) > 3) }
            }
        }
    }

    @Test func `fragments come together at the sidecar`() async {
        await #expect(processExitsWith: .success) {
            let client = try NetworkNamespace.create()
            try await withTrafficControl { pod, _ in
                try putBehindRouter(client, pod)
                // The pod does not know how small its link is.
                try run(["ip", "link", "set", "eth0", "mtu", "600"], in: pod.peer)
                let first = try PacketFilter(
                    in: pod.namespace,
                    counting: ["fragments": "ip frag-off & 0x1fff != 0"])
                let sidecar = try pod.namespace.listen(.ipv4, 15003, as: .sidecar)
                let origin = Endpoint(pod.address(.ipv4), 8080)
                let socket = try client.run { () throws(KernelError) in
                    let socket = try Socket.open(.tcp, .ipv4)
                    try socket.set(.mtuDiscovery, to: 0)
                    try socket.connect(to: origin)
                    return socket
                }
                let accepted = try sidecar.accept()
                #expect(try accepted.originalDestination(.ipv4) == origin)
                let text = String(repeating: "long segments ", count: 2000)
                try socket.send(text)
                try socket.finishSending()
                #expect(try accepted.receiveAll() == text)
                #expect(try first.count("fragments") > 10)
            }
        }
    }

    @Test func `a router's word about the size of packets reaches the sidecar`() async {
        await #expect(processExitsWith: .success) {
            let client = try NetworkNamespace.create()
            try await withTrafficControl { pod, _ in
                try putBehindRouter(client, pod)
                try run(["ip", "link", "set", "eth1", "mtu", "1280"], in: pod.peer)
                for family in AddressFamily.allCases {
                    let sidecar = try pod.namespace.listen(family, 15003, as: .sidecar)
                    let origin = Endpoint(pod.address(family), 8080)
                    let socket = try client.connect(to: origin, as: .root)
                    let accepted = try sidecar.accept()
                    let text = String(repeating: "long segments ", count: 500)
                    try accepted.send(text)
                    try accepted.finishSending()
                    #expect(try socket.receiveAll() == text)
                }
            }
        }
    }

    @Test func `a clsact of somebody else and its filter stay`() async {
        await #expect(processExitsWith: .success) {
            let slot = TrafficControlHook.Slot(.ingress, handle: 1, priority: 1)
            let theirs = try BPFProgram.load(
                .trafficControl, instructions: [.returnValue(-1), .exit])
            try await withTrafficControl { pod in
                var links = try RouteNetlink.open(in: pod.namespace)
                let link = try links.index(of: "eth0")
                try pod.namespace.run { () throws(KernelError) in
                    try TrafficControlHook.create(on: link).attach(theirs, slot)
                }
            } _: { pod, backend in
                try converse(pod, .ipv4, [:])
                try await backend.remove(from: pod.workload)
                var links = try RouteNetlink.open(in: pod.namespace)
                let link = try links.index(of: "eth0")
                try pod.namespace.run { () throws(KernelError) in
                    let hook = try TrafficControlHook.create(on: link)
                    #expect(!hook.madeQdisc)
                    #expect(try hook.program(in: slot) == theirs.id)
                }
            }
        }
    }
}

/// Connects with socket options set beforehand, and says something both ways.
private func converse(
    _ pod: TestPod, _ family: AddressFamily, _ options: [Socket.Option: [UInt8]]
) throws(KernelError) {
    let sidecar = try pod.namespace.listen(family, 15003, as: .sidecar)
    let origin = Endpoint(pod.address(family), 8080)
    let client = try pod.peer.run { () throws(KernelError) in
        let socket = try Socket.open(.tcp, family)
        for (option, value) in options { try socket.set(option, to: value) }
        try socket.connect(to: origin)
        return socket
    }
    let connection = Connection(client: client, server: try sidecar.accept())
    #expect(try connection.origin(family) == origin)
    try connection.exchange("with options")
    try connection.closeClientFirst()
}

/// Makes the pod's peer a router, with `client` behind it.
private func putBehindRouter(_ client: NetworkNamespace, _ pod: TestPod) throws {
    var links = try RouteNetlink.open(in: client)
    try links.createVethPair("eth0", peer: "eth1", in: pod.peer)
    let commands = [
        (pod.peer, "ip addr add 10.78.0.1/24 dev eth1; ip addr add fd00:78::1/64 dev eth1 nodad"),
        (pod.peer, "ip link set eth1 up; echo 1 > /proc/sys/net/ipv4/ip_forward"),
        (pod.peer, "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"),
        (client, "ip addr add 10.78.0.2/24 dev eth0; ip addr add fd00:78::2/64 dev eth0 nodad"),
        (client, "ip link set eth0 up; ip route add default via 10.78.0.1"),
        (client, "ip route add default via fd00:78::1"),
    ]
    for (namespace, command) in commands {
        let result = try run(["sh", "-ec", command], in: namespace)
        #expect(result.status == 0, "\(result.output)")
    }
    // Until the links are ready, what is sent may be lost.
    let router = IPAddress(bits: 0xfd00_0078 << 96 + 1)
    try pod.peer.waitUntilLocal(router, on: "eth1")
    try client.waitUntilLocal(IPAddress(bits: 0xfd00_0078 << 96 + 2))
    for family in AddressFamily.allCases { try waitUntilReachable(pod.address(family), client) }
}

/// Waits until somebody there says no: before, neighbors that do not know each other yet say nothing.
private func waitUntilReachable(_ address: IPAddress, _ client: NetworkNamespace) throws {
    for _ in 0..<10 {
        do throws(KernelError) {
            _ = try client.connect(to: Endpoint(address, 9), as: .root)
        } catch {
            switch error.errno {
            case .connectionRefused: return
            case .noRouteToHost, .nowInProgress: continue
            default: throw error
            }
        }
    }
    Issue.record("\(address) cannot be reached")
}

extension Socket.Option {
    /// `IP_OPTIONS` and `IP_MTU_DISCOVER`, ip(7).
    fileprivate static let ipOptions = Socket.Option(level: 0, name: 4)
    fileprivate static let mtuDiscovery = Socket.Option(level: 0, name: 10)
    /// `IPV6_HOPOPTS` and `IPV6_DSTOPTS`, linux/in6.h.
    fileprivate static let hopByHopOptions = Socket.Option(level: 41, name: 54)
    fileprivate static let destinationOptions = Socket.Option(level: 41, name: 59)
}
