// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import LinuxKernel
internal import RedirectionModel

extension RedirectionPlan {
    /// The plan as the programs meet it.
    ///
    /// `set` names the maps that hold its lists.
    func podEntry(set: UInt32, usesSocketLookup: Bool) -> swerve_pod {
        var entry = swerve_pod()
        entry.fingerprint = fingerprint.value
        entry.flags = flags.reduce(0) { $0 | UInt32($1.rawValue) }
        if usesSocketLookup { entry.flags |= UInt32(SWERVE_POD_SOCKET_LOOKUP.rawValue) }
        entry.set = set
        entry.sidecar_uid = sidecar.uids.first ?? 0
        entry.sidecar_gid = sidecar.gids.first ?? 0
        entry.outbound_port = sidecar.outboundPort
        entry.inbound_port = sidecar.inboundPort
        entry.dns_port = dns?.port ?? 0
        entry.family = (policy(for: .ipv4).value, policy(for: .ipv6).value)
        entry.source = (source(.ipv4), source(.ipv6))
        setOwnAddresses(of: &entry)
        return entry
    }

    private func setOwnAddresses(of entry: inout swerve_pod) {
        let places: [WritableKeyPath<swerve_pod, swerve_addr>] = [
            \.own.0, \.own.1, \.own.2, \.own.3,
        ]
        guard ownAddresses.count <= places.count else { return }
        for (place, address) in zip(places, ownAddresses.sorted()) {
            entry[keyPath: place] = swerve_addr(address)
        }
        entry.own_count = UInt8(ownAddresses.count)
    }

    /// The one address a connection to elsewhere would come from; zero leaves it to the kernel.
    private func source(_ family: AddressFamily) -> swerve_addr {
        routableAddresses(family).first.map { swerve_addr($0) } ?? swerve_addr()
    }

    /// Own addresses that a connection leaving the link can come from.
    func routableAddresses(_ family: AddressFamily) -> [IPAddress] {
        ownAddresses.filter { $0.family == family && !$0.isLinkLocal }.sorted()
    }

    private var flags: [swerve_pod_flag] {
        let lists = PolicyLists(self)
        let conditions: [(Bool, swerve_pod_flag)] = [
            (isEnabled, SWERVE_POD_ENABLED),
            (!sidecar.uids.isEmpty, SWERVE_POD_SIDECAR_UID),
            (!sidecar.gids.isEmpty, SWERVE_POD_SIDECAR_GID),
            (!OwnerTable(lists).entries.isEmpty, SWERVE_POD_OWNERS),
            (!lists.ownAddresses.isEmpty, SWERVE_POD_OWN_IN_SET),
            (dns?.protocols.contains(.udp) ?? false, SWERVE_POD_DNS_UDP),
            (dns?.protocols.contains(.tcp) ?? false, SWERVE_POD_DNS_TCP),
            (dns?.servers != nil, SWERVE_POD_DNS_SERVERS),
            (sidecar.redirectsSelfCalls, SWERVE_POD_SELF_CALLS),
            (!sidecar.tunnelPorts.isEmpty, SWERVE_POD_TUNNEL_PORTS),
            (passesOwnAddresses, SWERVE_POD_PASS_OWN),
            (!sidecar.passthroughSources.isEmpty, SWERVE_POD_PASSTHROUGH),
            (inboundMode != .redirect, SWERVE_POD_TRANSPARENT),
            (outbound.hasPorts, SWERVE_POD_OUT_PORTS),
            (outbound.hasNetworks, SWERVE_POD_OUT_NETWORKS),
            (inbound.hasNetworks, SWERVE_POD_IN_NETWORKS),
            (outbound.includedPorts != nil, SWERVE_POD_OUT_INCLUDED_PORTS),
            (outbound.includedNetworks != nil, SWERVE_POD_OUT_INCLUDED_NETWORKS),
            (outbound.combination == .any, SWERVE_POD_OUT_ANY),
            (inbound.includedPorts != nil, SWERVE_POD_IN_INCLUDED_PORTS),
            (inbound.includedNetworks != nil, SWERVE_POD_IN_INCLUDED_NETWORKS),
            (inbound.combination == .any, SWERVE_POD_IN_ANY),
        ]
        return conditions.filter(\.0).map(\.1)
    }
}

extension RedirectionPlan {
    /// What answers to borrowed source addresses need, when the plan is transparent inbound.
    var transparentRouting: TransparentRouting? {
        guard case .transparent(let mark, let table) = inboundMode else { return nil }
        return TransparentRouting(mark: mark, table: table)
    }
}

extension Selection {
    fileprivate var hasPorts: Bool { !excludedPorts.isEmpty || includedPorts != nil }
    fileprivate var hasNetworks: Bool { !excludedNetworks.isEmpty || includedNetworks != nil }
}

extension IPAddress {
    /// `fe80::/10` (RFC 4291 §2.5.6) and `169.254.0.0/16` (RFC 3927).
    fileprivate var isLinkLocal: Bool {
        family == .ipv4 ? ipv4 >> 16 == 0xa9fe : bytes[0] == 0xfe && bytes[1] & 0xc0 == 0x80
    }
}
