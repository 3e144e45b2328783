// SPDX-License-Identifier: Apache-2.0

/// The numbers of each mesh, from what it publishes; docs/presets.md has them as a table.
extension Preset {
    /// Flomesh Service Mesh, the default.
    ///
    /// Outbound 15001, inbound 15003, uid 1500; admin 15000, metrics 15010, probes 15901-15904.
    /// Pipy answers name lookups at 127.0.0.153 and over UDP alone, where none are sent to here.
    package static let fsm = Preset(
        .fsm,
        sidecar: Sidecar(
            uids: [1500], outboundPort: 15001, inboundPort: 15003,
            ownPorts: PortSet([15000...15001, 15003...15003, 15010...15010, 15901...15904]))
    ).with { $0.adminPort = 15000 }

    /// Open Service Mesh, from which FSM comes: the same numbers.
    package static let osm = Preset(.osm, sidecar: Preset.fsm.sidecar)
        .with { $0.adminPort = Preset.fsm.adminPort }

    /// Istio, sidecar mode.
    ///
    /// 127.0.0.6 and ::6 are what Envoy hands connections on from, 15008 is the tunnel between
    /// sidecars, 15020, 15021 and 15090 serve metrics and health. Its include lists are a union,
    /// and the one of networks is everything unless said otherwise.
    package static let istio = Preset(
        .istio,
        sidecar: Sidecar(
            uids: [1337], gids: [1337], outboundPort: 15001, inboundPort: 15006,
            ownPorts: [15006, 15008, 15020, 15021, 15090], tunnelPorts: [15008],
            passthroughSources: envoyPassthrough)
    ).with {
        $0.dnsPort = 15053
        $0.transparent = TransparentRouting(mark: 1337, table: 133)
        $0.outbound = Selection(
            excludedPorts: [15020], includedNetworks: [.all(.ipv4), .all(.ipv6)], combination: .any)
    }

    /// Linkerd 2: calls by the proxy are never looked at, its control plane's ports are left alone.
    package static let linkerd = Preset(
        .linkerd,
        sidecar: Sidecar(
            uids: [2102], outboundPort: 4140, inboundPort: 4143, ownPorts: [4143, 4190, 4191],
            redirectsSelfCalls: false)
    ).with {
        $0.adminPort = 4191
        $0.controlPort = 4190
        $0.outbound = Selection(excludedPorts: [4567, 4568])
        $0.inbound = Selection(excludedPorts: [4567, 4568])
    }

    /// Kuma on Kubernetes, where its sidecar answers every name lookup.
    package static let kuma = Preset(
        .kuma,
        sidecar: Sidecar(
            uids: [5678], outboundPort: 15001, inboundPort: 15006, ownPorts: [15006],
            passthroughSources: envoyPassthrough)
    ).with {
        $0.dnsPort = 15053
        $0.dns = .all
    }

    /// Consul on Kubernetes: the application's calls to its own addresses go through the sidecar.
    ///
    /// 5996 is who its init containers run as.
    package static let consul = Preset(
        .consul,
        sidecar: Sidecar(
            uids: [5995], outboundPort: 15001, inboundPort: 20000, ownPorts: [20000],
            redirectsSelfCalls: false)
    ).with {
        $0.passesOwnAddresses = false
        $0.dnsPort = 8600
        $0.excludedUIDs = [5996]
    }

    /// 127.0.0.6 and ::6.
    private static let envoyPassthrough: Set = [IPAddress(ipv4: 0x7f00_0006), IPAddress(bits: 6)]
}
