// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel
package import RedirectionEngine
package import RedirectionModel
internal import SystemPackage

#if canImport(Glibc)
internal import Glibc
#endif

/// A pod and the host next to it: two namespaces joined by a veth pair, `eth0` on both sides.
///
/// Everything here is held by descriptors, so a test that ends in whatever way leaves nothing.
package struct TestPod: Sendable {
    package let workload: Workload
    /// The workload's, with its cgroup in tests that are in one.
    package let namespace: NetworkNamespace
    /// The other end: a client of the pod, or a server for it.
    package let peer: NetworkNamespace
    package let addresses: [AddressFamily: IPAddress]
    package let peerAddresses: [AddressFamily: IPAddress]

    package init(
        workload: Workload, namespace: NetworkNamespace, peer: NetworkNamespace,
        addresses: [AddressFamily: IPAddress], peerAddresses: [AddressFamily: IPAddress]
    ) {
        self.workload = workload
        self.namespace = namespace
        self.peer = peer
        self.addresses = addresses
        self.peerAddresses = peerAddresses
    }

    /// Makes the pod; two pods with different `number`s have different addresses.
    package static func create(
        _ id: String = "pod", number: UInt32 = 0
    ) throws(KernelError) -> TestPod {
        let workload = try Workload.forTest(id)
        let pod = TestPod(
            workload: workload, namespace: try workload.inside(),
            peer: try NetworkNamespace.create(),
            addresses: addresses(host: 2, number), peerAddresses: addresses(host: 1, number))
        var links = try RouteNetlink.open(in: pod.namespace)
        try links.createVethPair("eth0", peer: "eth0", in: pod.peer)
        var peerLinks = try RouteNetlink.open(in: pod.peer)
        try configure(&links, pod.addresses)
        try configure(&peerLinks, pod.peerAddresses)
        for (family, gateway) in pod.peerAddresses {
            try links.addRoute(to: .all(family), via: gateway)
        }
        try pod.namespace.waitUntilLocal(pod.address(.ipv6))
        try pod.peer.waitUntilLocal(pod.peerAddress(.ipv6))
        return pod
    }

    /// The same pod, which lives in another cgroup, a threaded one.
    package func living(in cgroup: Cgroup) throws(KernelError) -> TestPod {
        TestPod(
            workload: Workload(id: workload.id, namespace: workload.namespace, cgroup: cgroup),
            namespace: try namespace.within(cgroup), peer: peer, addresses: addresses,
            peerAddresses: peerAddresses)
    }

    private static func addresses(host: UInt32, _ number: UInt32) -> [AddressFamily: IPAddress] {
        // 10.77.N.H and fd00:77::N:H
        [
            .ipv4: IPAddress(ipv4: 0x0a4d_0000 + number << 8 + host),
            .ipv6: IPAddress(bits: 0xfd00_0077 << 96 + UInt128(number << 16 + host)),
        ]
    }

    private static func configure(
        _ links: inout RouteNetlink, _ addresses: [AddressFamily: IPAddress]
    ) throws(KernelError) {
        for (family, address) in addresses {
            try links.addAddress(address, prefixLength: family == .ipv4 ? 24 : 112, to: "eth0")
        }
        try links.setUp("eth0")
    }

    package func address(_ family: AddressFamily) -> IPAddress {
        addresses[family] ?? .loopback(family)
    }

    package func peerAddress(_ family: AddressFamily) -> IPAddress {
        peerAddresses[family] ?? .loopback(family)
    }

    /// Runs `body` while `backend` redirects the pod by the fsm preset's plan, and no longer.
    package func redirected(
        by backend: some RedirectionBackend, _ body: () async throws -> Void
    ) async throws {
        try await backend.apply(plan, to: workload)
        do {
            try await body()
        } catch {
            try await backend.remove(from: workload)
            throw error
        }
        try await backend.remove(from: workload)
    }

    /// The fsm preset's plan for this pod.
    package var plan: RedirectionPlan {
        Preset.fsm.plan(ownAddresses: Set(addresses.values))
    }
}

extension NetworkNamespace {
    /// Waits until the kernel takes an IPv6 address of an interface for its own.
    ///
    /// It does so only when the link is ready, which it finds out some time after both ends of a
    /// veth pair are up. Until then a connection to the address asks the wire who has it, and
    /// hangs; and what is sent elsewhere may be lost.
    package func waitUntilLocal(
        _ address: IPAddress, on interface: String = "eth0"
    ) throws(KernelError) {
        let digits = address.bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        for _ in 0..<30_000 {
            let routes = try run { () throws(KernelError) in
                try readFile("/proc/thread-self/net/ipv6_route")
            }
            // The route to the address alone: 0x80 bits.
            let isThere = routes.split(separator: "\n").contains {
                $0.hasPrefix("\(digits) 80 ") && $0.hasSuffix(" \(interface)")
            }
            if isThere { return }
            usleep(1000)
        }
        throw KernelError("wait for \(address) to be local", .timedOut)
    }
}

extension NetworkNamespace {
    /// Listens in this namespace; `address` defaults to every address of the family.
    package func listen(
        _ family: AddressFamily, _ port: UInt16, on address: IPAddress? = nil,
        as owner: Owner = .root, options: [Socket.Option] = [.reuseAddress]
    ) throws(KernelError) -> Socket {
        let any = IPAddress(bits: family == .ipv4 ? 0xffff << 32 : 0)
        return try run { () throws(KernelError) in
            try asOwner(owner) { () throws(KernelError) in
                let socket = try Socket.open(.tcp, family)
                if family == .ipv6 { try socket.set(.ipv6Only, to: 1) }
                for option in options { try socket.set(option, to: 1) }
                try socket.bind(Endpoint(address ?? any, port))
                try socket.listen()
                return socket
            }
        }
    }

    /// Connects from this namespace as `owner`, optionally from a source of its choice.
    package func connect(
        to destination: Endpoint, as owner: Owner = .application, from source: Endpoint? = nil,
        kind: Socket.Kind = .tcp
    ) throws(KernelError) -> Socket {
        try run { () throws(KernelError) in
            try asOwner(owner) { () throws(KernelError) in
                let socket = try Socket.open(kind, destination.address.family)
                if let source {
                    try socket.set(.reuseAddress, to: 1)
                    try socket.bind(source)
                }
                try socket.connect(to: destination)
                return socket
            }
        }
    }
}
