// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel

/// A pod and what is at the far end of its wire, in namespaces that nothing but descriptors holds.
struct BenchPod: Sendable {
    let number: Int
    let workload: Workload
    /// The pod's, those of the nodes in between, the peer's.
    let hops: [NetworkNamespace]
    /// The cgroups of the pod's own processes, and of those at the far end.
    let cgroup: Cgroup
    let farCgroup: Cgroup

    /// Makes the pod; those of one run have different numbers.
    ///
    /// `node` is the cgroup that a mechanism is attached to, `outside` one that it is not.
    static func create(
        _ number: Int, _ topology: Topology, on node: Cgroup, outside: Cgroup
    ) throws(KernelError) -> BenchPod {
        var hops: [NetworkNamespace] = []
        for _ in 0..<(topology.routers + 2) { hops.append(try createNamespace()) }
        let pod = try BenchPod(number, hops, on: node, outside: outside)
        try pod.farCgroup.create()
        for part in Part.allCases {
            try pod.cgroup.child(part.rawValue).create()
            try pod.farCgroup.child(part.rawValue).create()
        }
        try BenchWire(number: number, hops: hops).connect()
        return pod
    }

    /// Makes one that nothing runs in: its wire ends in itself.
    static func createIdle(
        _ number: Int, on node: Cgroup, outside: Cgroup
    ) throws(KernelError) -> BenchPod {
        let pod = try BenchPod(number, [try createNamespace()], on: node, outside: outside)
        var links = try RouteNetlink.open(in: pod.namespace)
        try links.createVethPair("eth0", peer: "peer", in: pod.namespace)
        for address in pod.addresses {
            let length = address.family == .ipv4 ? 32 : 128
            try links.addAddress(address, prefixLength: length, to: "eth0")
        }
        try links.setUp("eth0")
        return pod
    }

    private init(
        _ number: Int, _ hops: [NetworkNamespace], on node: Cgroup, outside: Cgroup
    ) throws(KernelError) {
        self.number = number
        self.hops = hops
        cgroup = node.child("pod-\(number)")
        farCgroup = outside.child("far-\(number)")
        try cgroup.create()
        workload = Workload(id: "bench-\(number)", namespace: hops[0], cgroup: cgroup)
    }

    var namespace: NetworkNamespace { workload.namespace }

    /// Who takes part in a connection.
    enum Part: String, CaseIterable {
        case client, sidecar, server
    }

    func address(_ family: AddressFamily) -> IPAddress {
        BenchWire.address(number, segment: 0, host: 2, family)
    }

    var addresses: [IPAddress] { AddressFamily.allCases.map(address) }

    func farAddress(_ family: AddressFamily) -> IPAddress {
        BenchWire.address(number, segment: max(0, hops.count - 2), host: 1, family)
    }

    var farAddresses: [IPAddress] { AddressFamily.allCases.map(farAddress) }

    private static func createNamespace() throws(KernelError) -> NetworkNamespace {
        let namespace = try NetworkNamespace.create()
        try namespace.run { () throws(KernelError) in
            // Ports of closed connections may be used again after a second, as a busy client has it:
            // else churn would end when it has used them all. And no waiting for neighbors who may
            // have the same address: none has.
            let settings = [("ipv4/tcp_tw_reuse", "1"), ("ipv6/conf/default/accept_dad", "0")]
            for (name, value) in settings {
                try OwnedDescriptor.open("/proc/sys/net/" + name, .write).write(value)
            }
        }
        return namespace
    }

    /// The plan of the subject's preset, lookups captured, both families.
    func plan(for subject: Subject) -> RedirectionPlan {
        var plan = Preset(named: subject.preset).plan(ownAddresses: Set(addresses))
        if subject.capturesLookups { plan.dns = DNSCapture(port: Resolver.port) }
        for family in AddressFamily.allCases where !subject.families.contains(family) {
            plan.families[family] = .pass
        }
        if subject.isTransparent { plan.inboundMode = .transparent(mark: 1500, table: 1500) }
        if subject.listLength > 0 { plan.addLists(length: subject.listLength) }
        return plan
    }

    /// Where a part of connections of this direction runs.
    func place(
        _ part: Part, _ direction: Direction
    ) -> (namespace: NetworkNamespace, cgroup: Cgroup) {
        let isFar = part != .sidecar && (part == .client) == (direction == .inbound)
        return (
            isFar ? hops[hops.count - 1] : namespace,
            (isFar ? farCgroup : cgroup).child(part.rawValue)
        )
    }
}

extension RedirectionPlan {
    /// Ports, networks and users that are excluded, and that no connection here is to, or of.
    mutating func addLists(length: Int) {
        let numbers = 0..<UInt32(length)
        outbound.excludedPorts = PortSet(
            values: numbers.map { UInt16(truncatingIfNeeded: 2 * $0 + 1025) })
        // Those that connections here are to.
        outbound.excludedPorts = outbound.excludedPorts.subtracting(PortSet([9000...9009]))
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
