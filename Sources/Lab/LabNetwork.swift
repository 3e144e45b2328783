// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import RedirectionModel

/// The lab's namespaces and wires, held by nothing but descriptors.
///
/// Nodes are namespaces of their own: the machine's is never touched.
struct LabNetwork: Sendable {
    let nodes: [String: NetworkNamespace]
    let pods: [String: NetworkNamespace]

    private static let bridge = "br0"

    static func build(_ topology: LabTopology) throws(KernelError) -> LabNetwork {
        var nodes: [String: NetworkNamespace] = [:]
        var pods: [String: NetworkNamespace] = [:]
        for node in topology.nodes {
            let namespace = try createNamespace(forwarding: true)
            try createBridge(node, in: namespace)
            for pod in node.pods {
                let inside = try createNamespace(forwarding: false)
                try plug(pod, of: node, inside, into: namespace)
                pods[pod.name] = inside
            }
            nodes[node.name] = namespace
        }
        try wire(topology.nodes, nodes)
        return LabNetwork(nodes: nodes, pods: pods)
    }

    private static func createNamespace(
        forwarding: Bool
    ) throws(KernelError) -> NetworkNamespace {
        let namespace = try NetworkNamespace.create()
        // No waiting for duplicates of addresses nobody else can have.
        var settings = [("ipv6/conf/default/accept_dad", "0"), ("ipv6/conf/all/accept_dad", "0")]
        if forwarding {
            settings += [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")]
        }
        try namespace.run { () throws(KernelError) in
            // proc(5): /proc/sys/net shows the namespace of the thread that opens it.
            for (name, value) in settings {
                try OwnedDescriptor.open("/proc/sys/net/" + name, .write).write(value)
            }
        }
        return namespace
    }

    private static func createBridge(
        _ node: LabTopology.Node, in namespace: NetworkNamespace
    ) throws(KernelError) {
        var links = try RouteNetlink.open(in: namespace)
        try links.createBridge(bridge)
        try links.addAddresses(node.gateways, to: bridge)
        try links.setUp(bridge)
    }

    /// Connects a pod to its node's bridge.
    private static func plug(
        _ pod: LabTopology.Pod, of node: LabTopology.Node, _ inside: NetworkNamespace,
        into namespace: NetworkNamespace
    ) throws(KernelError) {
        var outer = try RouteNetlink.open(in: namespace)
        try outer.createVethPair(pod.name, peer: "eth0", in: inside)
        try outer.setMaster(pod.name, bridge)
        try outer.setUp(pod.name)

        var inner = try RouteNetlink.open(in: inside)
        try inner.addAddresses(pod.addresses, to: "eth0")
        try inner.setUp("eth0")
        for gateway in node.gateways {
            try inner.addRoute(to: .all(gateway.family), via: gateway)
        }
    }

    /// Connects every two nodes, and routes the pods of one to the pods of the other.
    private static func wire(
        _ nodes: [LabTopology.Node], _ namespaces: [String: NetworkNamespace]
    ) throws(KernelError) {
        for (index, left) in nodes.enumerated() {
            for right in nodes[(index + 1)...] {
                guard let here = namespaces[left.name], let there = namespaces[right.name] else {
                    continue
                }
                var links = try RouteNetlink.open(in: here)
                try links.createVethPair("to-\(right.name)", peer: "to-\(left.name)", in: there)
                try connect(left, here, to: right)
                try connect(right, there, to: left)
            }
        }
    }

    private static func connect(
        _ node: LabTopology.Node, _ namespace: NetworkNamespace, to other: LabTopology.Node
    ) throws(KernelError) {
        var links = try RouteNetlink.open(in: namespace)
        try links.addAddresses(node.uplinks, to: "to-\(other.name)")
        try links.setUp("to-\(other.name)")
        for (network, gateway) in zip(other.networks, other.uplinks) {
            try links.addRoute(to: network, via: gateway)
        }
    }
}

extension RouteNetlink {
    fileprivate mutating func addAddresses(
        _ addresses: [IPAddress], to name: String
    ) throws(KernelError) {
        for address in addresses {
            try addAddress(
                address, prefixLength: LabAddress.prefixLength(address.family), to: name)
        }
    }
}
