// SPDX-License-Identifier: Apache-2.0

extension Policy {
    /// One policy out of several, the farthest first: default, node, namespace, pod.
    package static func merging(_ layers: [Policy]) -> Policy {
        layers.reduce(Policy()) { $0.overlaid(by: $1) }
    }

    /// This policy, with what a nearer one says.
    ///
    /// Exclusions are united, as FSM unites those of the mesh and of a pod: who is farther away
    /// keeps what they excluded. Of everything else the nearer one's word replaces the farther
    /// one's: include lists too, and the sidecar's ids, for a pod whose sidecar runs as another
    /// user must not leave the usual one unguarded.
    package func overlaid(by nearer: Policy) -> Policy {
        var merged = self
        merged.preset = nearer.preset ?? preset
        merged.mode = nearer.mode ?? mode
        merged.sidecar.overlay(nearer.sidecar)
        merged.families.merge(nearer.families) { $1 }
        merged.dns.capture = nearer.dns.capture ?? dns.capture
        merged.dns.protocols = nearer.dns.protocols ?? dns.protocols
        merged.outbound.overlay(nearer.outbound)
        merged.inbound.overlay(nearer.inbound)
        merged.virtualInterfaces = nearer.virtualInterfaces ?? virtualInterfaces
        merged.places.overlay(nearer.places)
        return merged
    }
}

extension SidecarPolicy {
    fileprivate mutating func overlay(_ nearer: SidecarPolicy) {
        uids = nearer.uids ?? uids
        gids = nearer.gids ?? gids
        outboundPort = nearer.outboundPort ?? outboundPort
        inboundPort = nearer.inboundPort ?? inboundPort
        dnsPort = nearer.dnsPort ?? dnsPort
        adminPort = nearer.adminPort ?? adminPort
        controlPort = nearer.controlPort ?? controlPort
        ports = nearer.ports ?? ports
        tunnelPorts = nearer.tunnelPorts ?? tunnelPorts
        redirectsSelfCalls = nearer.redirectsSelfCalls ?? redirectsSelfCalls
        passthroughSources = nearer.passthroughSources ?? passthroughSources
    }
}

extension OutboundPolicy {
    fileprivate mutating func overlay(_ nearer: OutboundPolicy) {
        passesOwnAddresses = nearer.passesOwnAddresses ?? passesOwnAddresses
        excludedPorts = excludedPorts.union(nearer.excludedPorts)
        excludesDNSOverUDP = excludesDNSOverUDP || nearer.excludesDNSOverUDP
        excludedNetworks.formUnion(nearer.excludedNetworks)
        excludedUIDs = excludedUIDs.union(nearer.excludedUIDs)
        excludedGIDs = excludedGIDs.union(nearer.excludedGIDs)
        excludedInterfaces.formUnion(nearer.excludedInterfaces)
        let known = Set(excludedPortsByUser)
        excludedPortsByUser += nearer.excludedPortsByUser.filter { !known.contains($0) }
        includedPorts = nearer.includedPorts ?? includedPorts
        includedNetworks = nearer.includedNetworks ?? includedNetworks
        combination = nearer.combination ?? combination
    }
}

extension InboundPolicy {
    fileprivate mutating func overlay(_ nearer: InboundPolicy) {
        style = nearer.style ?? style
        mark = nearer.mark ?? mark
        table = nearer.table ?? table
        excludedPorts = excludedPorts.union(nearer.excludedPorts)
        excludedSources.formUnion(nearer.excludedSources)
        excludedInterfaces.formUnion(nearer.excludedInterfaces)
        includedPorts = nearer.includedPorts ?? includedPorts
        includedSources = nearer.includedSources ?? includedSources
        combination = nearer.combination ?? combination
    }
}
