// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel

/// A pod and what is at the far end of its wire, in namespaces that nothing but descriptors holds.
struct BenchPod: Sendable {
    let workload: Workload
    let namespace: NetworkNamespace
    let far: NetworkNamespace
    let address: IPAddress
    let farAddress: IPAddress
    /// The cgroups of the pod's own processes, and of those at the far end.
    let cgroup: Cgroup
    let farCgroup: Cgroup

    /// Makes the pod; those of one run have different numbers.
    ///
    /// `node` is the cgroup that a
    /// mechanism is attached to, `outside` one that it is not; nothing runs in an idle pod.
    static func create(
        _ number: Int, on node: Cgroup, outside: Cgroup, isIdle: Bool
    ) throws(KernelError) -> BenchPod {
        let cgroup = node.child("pod-\(number)")
        let farCgroup = outside.child("far-\(number)")
        try cgroup.create()
        if !isIdle {
            try farCgroup.create()
            for part in Part.allCases {
                try cgroup.child(part.rawValue).create()
                try farCgroup.child(part.rawValue).create()
            }
        }
        let namespace = try createNamespace()
        let pod = BenchPod(
            workload: Workload(id: "bench-\(number)", namespace: namespace, cgroup: cgroup),
            namespace: namespace, far: try createNamespace(),
            address: address(number, host: 2), farAddress: address(number, host: 1),
            cgroup: cgroup, farCgroup: farCgroup)
        try pod.connect()
        return pod
    }

    /// Who takes part in a connection.
    enum Part: String, CaseIterable {
        case client, sidecar, server
    }

    /// 10.78.N.H, and beyond 256 pods the networks after it.
    private static func address(_ number: Int, host: UInt32) -> IPAddress {
        IPAddress(ipv4: 0x0a4e_0000 + UInt32(number) << 8 + host)
    }

    private static func createNamespace() throws(KernelError) -> NetworkNamespace {
        let namespace = try NetworkNamespace.create()
        try namespace.run { () throws(KernelError) in
            // Ports of closed connections may be used again after a second, as a busy client has it:
            // else churn would end when it has used them all. No IPv6: nobody here speaks it.
            for (name, value) in [("ipv4/tcp_tw_reuse", "1"), ("ipv6/conf/all/disable_ipv6", "1")] {
                try OwnedDescriptor.open("/proc/sys/net/" + name, .write).write(value)
            }
        }
        return namespace
    }

    private func connect() throws(KernelError) {
        var links = try RouteNetlink.open(in: namespace)
        try links.createVethPair("eth0", peer: "eth0", in: far)
        try links.addAddress(address, prefixLength: 24, to: "eth0")
        try links.setUp("eth0")
        var farLinks = try RouteNetlink.open(in: far)
        try farLinks.addAddress(farAddress, prefixLength: 24, to: "eth0")
        try farLinks.setUp("eth0")
        try links.addRoute(to: .all(.ipv4), via: farAddress)
    }

    /// The plan of the fsm preset, lookups captured.
    func plan(for subject: Subject) -> RedirectionPlan {
        var plan = Preset.fsm.plan(ownAddresses: [address])
        plan.dns = DNSCapture(port: Resolver.port)
        if subject.isTransparent { plan.inboundMode = .transparent(mark: 1500, table: 1500) }
        if subject.listLength > 0 { plan.addLists(length: subject.listLength) }
        return plan
    }

    /// Where a part of connections of this direction runs.
    func place(
        _ part: Part, _ direction: Direction
    ) -> (namespace: NetworkNamespace, cgroup: Cgroup) {
        let isFar = part != .sidecar && (part == .client) == (direction == .inbound)
        return (isFar ? far : namespace, (isFar ? farCgroup : cgroup).child(part.rawValue))
    }
}

extension RedirectionPlan {
    /// Ports, networks and users that are excluded, and that no connection here is to, or of.
    mutating func addLists(length: Int) {
        let numbers = 0..<UInt32(length)
        outbound.excludedPorts = PortSet(
            values: numbers.map { UInt16(truncatingIfNeeded: 2 * $0 + 1025) })
        // Those that connections here are to.
        outbound.excludedPorts = outbound.excludedPorts.subtracting([9000, 9001, 9002, 9003])
        outbound.excludedNetworks = Set(
            numbers.map { number in
                // 198.18.0.0/15 and 2001:2::/48: those for benchmarks (RFC 2544, RFC 5180).
                CIDR(
                    number.isMultiple(of: 2)
                        ? IPAddress(ipv4: 0xc612_0000 + number)
                        : IPAddress(bits: 0x2001_0002 << 96 | UInt128(number)))
            })
        excludedUIDs = IDSet(values: numbers.map { 100_000 + 2 * $0 })
    }
}
