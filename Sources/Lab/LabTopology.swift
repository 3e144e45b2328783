// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// Who is where in the lab, and under which addresses: data only.
package struct LabTopology: Hashable, Sendable {
    package struct Pod: Hashable, Sendable {
        /// Also the host name, and the name of the node's end of the veth pair.
        package let name: String
        /// How its application introduces itself; `nil` for a pod that only asks.
        package let greeting: String?
        package let addresses: [IPAddress]
    }

    package struct Node: Hashable, Sendable {
        package let name: String
        package let number: UInt8
        package let pods: [Pod]
    }

    package let nodes: [Node]

    /// The port every application listens on.
    package static let applicationPort: UInt16 = 8080

    /// The scene: a client and `ok v1` on one node, `ok v2` on the other.
    package static let scene = LabTopology(nodes: [
        Node(1, pods: [("curl", nil), ("ok-v1", "ok v1")]),
        Node(2, pods: [("ok-v2", "ok v2")]),
    ])

    /// What the pods see as `/etc/hosts`; `ok` is every application.
    package var hosts: String {
        var lines = ["127.0.0.1 localhost", "::1 localhost"]
        for pod in nodes.flatMap(\.pods) {
            let alias = pod.greeting == nil ? "" : " ok"
            lines += pod.addresses.map { "\($0) \(pod.name)\(alias)" }
        }
        return lines.joined(separator: "\n") + "\n"
    }
}

extension LabTopology.Node {
    fileprivate init(_ number: UInt8, pods: [(name: String, greeting: String?)]) {
        self.number = number
        name = "node\(number)"
        self.pods = pods.enumerated().map { index, pod in
            LabTopology.Pod(
                name: pod.name, greeting: pod.greeting,
                addresses: LabAddress.pair(node: number, host: UInt8(2 + index)))
        }
    }

    /// The pods' gateway: the node's own addresses on the bridge.
    var gateways: [IPAddress] { LabAddress.pair(node: number, host: 1) }
    /// `10.244.N.0/24` and `fd00:244:N::/64`.
    package var networks: [CIDR] { gateways.map(LabAddress.network) }
    /// The node's addresses on the wire to the other nodes.
    var uplinks: [IPAddress] { LabAddress.uplinks(node: number) }
}

/// The lab's numbering.
enum LabAddress {
    /// `10.244.N.H` and `fd00:244:N::H`.
    static func pair(node: UInt8, host: UInt8) -> [IPAddress] {
        [
            IPAddress(ipv4: 10 << 24 | 244 << 16 | UInt32(node) << 8 | UInt32(host)),
            IPAddress(bits: prefix | UInt128(node) << 80 | UInt128(host)),
        ]
    }

    /// `172.31.244.N` and `fd00:244::N`.
    static func uplinks(node: UInt8) -> [IPAddress] {
        [
            IPAddress(ipv4: 172 << 24 | 31 << 16 | 244 << 8 | UInt32(node)),
            IPAddress(bits: prefix | UInt128(node)),
        ]
    }

    /// The network of one address of the lab: a /24 or a /64.
    static func network(_ address: IPAddress) -> CIDR {
        guard let network = CIDR(address, prefixLength: prefixLength(address.family)) else {
            preconditionFailure("24 and 64 are lengths of a prefix")
        }
        return network
    }

    static func prefixLength(_ family: AddressFamily) -> Int { family == .ipv4 ? 24 : 64 }

    /// `fd00:244::/32`.
    private static let prefix: UInt128 = 0xfd00_0244 << 96
}
