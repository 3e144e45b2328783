// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import RedirectionModel

/// An entry of a map, in words: `swerve_network_sets[10.0.0.0/8] = out-excluded`.
///
/// The number of a pod's set is left out, and whether NAT renumbers its connections: they are
/// bookkeeping, and differ between two installations of one plan.
package struct MapEntry: Hashable, Sendable, Codable {
    package let map: String
    package let key: String
    package let value: String

    init(_ map: String, _ key: String, _ value: String) {
        self.map = map
        self.key = key
        self.value = value
    }
}

extension MapEntry: CustomStringConvertible {
    package var description: String { "\(map)[\(key)] = \(value)" }
}

/// Everything the maps hold about a pod, decoded from the very bytes, be they written yet or not.
struct MapTable {
    let pod: swerve_pod
    let ports: [swerve_port_words]
    let networks: [CIDR: UInt32]
    let owners: [Owner]

    struct Owner: Hashable {
        let isGroup: Bool
        let prefix: IDPrefix
        let flags: UInt32
        let ports: PortSet
    }

    var entries: [MapEntry] { podEntries + portEntries + networkEntries + ownerEntries }

    private var podEntries: [MapEntry] {
        let fields: [(String, String)] = [
            ("flags", text(pod.flags & Self.planned, Self.podFlags)),
            ("sidecar-uid", has(SWERVE_POD_SIDECAR_UID) ? "\(pod.sidecar_uid)" : ""),
            ("sidecar-gid", has(SWERVE_POD_SIDECAR_GID) ? "\(pod.sidecar_gid)" : ""),
            ("outbound-port", "\(pod.outbound_port)"), ("inbound-port", "\(pod.inbound_port)"),
            ("dns-port", pod.dns_port == 0 ? "" : "\(pod.dns_port)"),
            ("ipv4", Self.familyPolicies[Int(pod.family.0)]),
            ("ipv6", Self.familyPolicies[Int(pod.family.1)]),
            ("own", own.map { "\($0)" }.joined(separator: ",")),
            ("source-ipv4", "\(IPAddress(pod.source.0))"),
            ("source-ipv6", "\(IPAddress(pod.source.1))"),
        ]
        return fields.filter { !["", "::"].contains($0.1) }
            .map { MapEntry("swerve_pods", $0.0, $0.1) }
    }

    private func has(_ flag: swerve_pod_flag) -> Bool { pod.flags & UInt32(flag.rawValue) != 0 }

    private var own: [IPAddress] {
        [pod.own.0, pod.own.1, pod.own.2, pod.own.3].prefix(Int(pod.own_count)).map {
            IPAddress($0)
        }
    }

    private var portEntries: [MapEntry] {
        Self.portLists.compactMap { name, word in
            let ports = PolicyLists.ports(in: ports, word)
            return ports.isEmpty ? nil : MapEntry("swerve_port_sets", name, "\(ports)")
        }
    }

    private var networkEntries: [MapEntry] {
        networks.sorted { $0.key < $1.key }.map { network, flags in
            MapEntry("swerve_network_sets", "\(network)", text(flags, Self.networkFlags))
        }
    }

    private var ownerEntries: [MapEntry] {
        owners.sorted {
            ($0.isGroup ? 1 : 0, $0.prefix.first) < ($1.isGroup ? 1 : 0, $1.prefix.first)
        }
        .map { owner in
            let ports = owner.ports.isEmpty ? [] : ["ports \(owner.ports)"]
            let flags = owner.flags == 0 ? [] : [text(owner.flags, Self.ownerFlags)]
            return MapEntry(
                "swerve_owners", "\(owner.isGroup ? "gid" : "uid") \(owner.prefix)",
                (flags + ports).joined(separator: ","))
        }
    }

    /// The names of the bits, in their order; `nothing` for none.
    private func text(_ flags: UInt32, _ names: [String]) -> String {
        let set = names.enumerated().filter { flags >> UInt32($0.offset) & 1 == 1 }.map(\.element)
        return set.isEmpty ? "nothing" : set.joined(separator: ",")
    }

    // The names of swerve_abi.h, in the order of its bits.
    private static let podFlags = [
        "enabled", "sidecar-uid", "sidecar-gid", "owners", "own-in-set", "out-ports",
        "out-networks", "in-networks", "out-included-ports", "out-included-networks", "out-any",
        "in-included-ports", "in-included-networks", "in-any", "socket-lookup", "dns-udp",
        "dns-tcp", "dns-servers", "self-calls", "tunnel-ports", "pass-own", "passthrough",
        "transparent",
    ]
    /// What a plan says of a pod; the rest is how the node is.
    private static let planned = ~UInt32(SWERVE_POD_RENUMBERED.rawValue)
    private static let networkFlags = [
        "out-excluded", "out-included", "in-excluded", "in-included", "own", "dns-server",
        "passthrough",
    ]
    private static let ownerFlags = ["sidecar", "excluded", "no-dns-udp"]
    private static let familyPolicies = ["pass", "managed", "drop"]
    private static var portLists: [(String, KeyPath<swerve_port_words, UInt64>)] {
        [
            ("out-excluded", \.word.0), ("out-included", \.word.1), ("in-excluded", \.word.2),
            ("in-included", \.word.3), ("sidecar", \.word.4), ("tunnel", \.word.5),
        ]
    }
}

extension MapTable {
    /// What applying the plan would write.
    init(_ plan: RedirectionPlan, _ inbound: InboundMethod) {
        let lists = PolicyLists(plan)
        self.init(
            pod: plan.podEntry(set: 0, usesSocketLookup: inbound == .socketLookup),
            ports: lists.portElements, networks: lists.networks,
            owners: OwnerTable(lists).entries.map { Owner($0) })
    }
}

extension MapTable.Owner {
    init(_ entry: OwnerTable.Entry) {
        self.init(
            isGroup: entry.isGroup, prefix: entry.prefix, flags: entry.facts.flags,
            ports: entry.facts.excludedPorts)
    }
}

extension PolicyLists {
    /// The ports of one list, read back from the bitmaps.
    static func ports(
        in elements: [swerve_port_words], _ word: KeyPath<swerve_port_words, UInt64>
    ) -> PortSet {
        var ports: [UInt16] = []
        for (index, element) in elements.enumerated() where element[keyPath: word] != 0 {
            let bits = element[keyPath: word]
            ports += (0..<64).filter { bits >> UInt64($0) & 1 == 1 }.map {
                UInt16(64 * index + $0)
            }
        }
        return PortSet(values: ports)
    }
}

extension IPAddress {
    /// The address in the ABI's form.
    init(_ address: swerve_addr) {
        let words = [address.word.0, address.word.1, address.word.2, address.word.3]
        self.init(bits: words.reduce(0) { $0 << 32 | UInt128(UInt32(bigEndian: $1)) })
    }
}
