// SPDX-License-Identifier: Apache-2.0

extension RedirectionPlan {
    /// Returns what happens to `flow`: the meaning of the product.
    ///
    /// Everything a backend installs is compiled from or checked against this function. The
    /// order of the rules is the order of docs/semantics.md: the first that matches decides.
    package func verdict(for flow: Flow) -> Verdict {
        guard isEnabled else { return Verdict(.pass, .disabled) }
        return switch flow.direction {
        case .outbound: outboundVerdict(for: flow.settled)
        case .inbound: inboundVerdict(for: flow)
        }
    }

    private func outboundVerdict(for flow: Flow) -> Verdict {
        let destination = flow.destination.address
        let isFromSidecar = flow.owner.map(sidecar.owns) ?? false
        if let dns, !isFromSidecar, dns.captures(flow), !isPortExcludedForOwner(of: flow) {
            return Verdict(.redirectDNS(port: dns.port), .dns)
        }
        if let verdict = unmanagedVerdict(for: flow) { return verdict }
        let isLoopback = destination.isLoopback
        let isOwn = !isLoopback && ownAddresses.contains(destination)
        if isLoopback || isOwn, sidecar.passthroughSources.contains(flow.source.address) {
            return Verdict(.pass, .passthrough)
        }
        if isFromSidecar, isOwn, borrowsAddress(flow) { return Verdict(.pass, .passthrough) }
        if isFromSidecar, isOwn, sidecar.redirectsSelfCalls,
            !sidecar.tunnelPorts.contains(flow.destination.port)
        {
            return Verdict(.redirectInbound(port: sidecar.inboundPort), .selfCall)
        }
        if isFromSidecar { return Verdict(.pass, .sidecar) }
        if isLoopback { return Verdict(.pass, .loopback) }
        if isOwn, passesOwnAddresses { return Verdict(.pass, .ownAddress) }
        if let owner = flow.owner {
            if excludedUIDs.contains(owner.uid) { return Verdict(.pass, .uid) }
            if excludedGIDs.contains(owner.gid) { return Verdict(.pass, .gid) }
            if isPortExcludedForOwner(of: flow) { return Verdict(.pass, .uidPort) }
        }
        if let reason = exclusion(of: flow, by: outbound, peer: destination, named: .cidrExcluded) {
            return Verdict(.pass, reason)
        }
        return Verdict(.redirectOutbound(port: sidecar.outboundPort), .outbound)
    }

    /// Whether a sidecar that accepts transparently may be handing on a connection.
    ///
    /// It does so from its client's address; a call to itself comes from one of the workload's.
    private func borrowsAddress(_ flow: Flow) -> Bool {
        guard case .transparent = inboundMode else { return false }
        let source = flow.source.address
        return !source.isLoopback && !source.isUnspecified && !ownAddresses.contains(source)
    }

    private func isPortExcludedForOwner(of flow: Flow) -> Bool {
        guard let owner = flow.owner else { return false }
        return ownerPortExclusions.contains { exclusion in
            exclusion.protocols.contains(flow.protocol) && exclusion.uids.contains(owner.uid)
                && exclusion.ports.contains(flow.destination.port)
        }
    }

    /// What a machine behind a virtual interface sends: outbound, by nobody's socket here.
    private func virtualVerdict(for flow: Flow, on virtual: [VirtualInterface]) -> Verdict {
        var flow = flow
        flow.direction = .outbound
        flow.owner = nil
        var plan = self
        plan.outbound.excludedNetworks.formUnion(virtual.flatMap(\.localNetworks))
        return plan.outboundVerdict(for: flow)
    }

    /// Which of the two tables decides: what a machine behind a virtual interface sends arrives,
    /// and meets the outbound one.
    package func table(for flow: Flow) -> Direction {
        virtualInterfaces(of: flow).isEmpty ? flow.direction : .outbound
    }

    private func virtualInterfaces(of flow: Flow) -> [VirtualInterface] {
        guard flow.direction == .inbound else { return [] }
        return virtualInterfaces.filter { $0.interface.matches(flow.interface) }
    }

    private func inboundVerdict(for flow: Flow) -> Verdict {
        let source = flow.source.address
        let virtual = virtualInterfaces(of: flow)
        if !virtual.isEmpty { return virtualVerdict(for: flow, on: virtual) }
        if flow.interface == "lo" { return Verdict(.pass, .loopback) }
        if let verdict = unmanagedVerdict(for: flow) { return verdict }
        let ports = sidecar.ownPorts
        if ports.contains(flow.destination.port) || flow.destination.port == sidecar.inboundPort {
            return Verdict(.pass, .sidecarPort)
        }
        if let reason = exclusion(of: flow, by: inbound, peer: source, named: .sourceExcluded) {
            return Verdict(.pass, reason)
        }
        return Verdict(.redirectInbound(port: sidecar.inboundPort), .inbound)
    }

    /// The verdict on what is not TCP, or of a family the plan does not manage.
    private func unmanagedVerdict(for flow: Flow) -> Verdict? {
        guard flow.protocol == .tcp else { return Verdict(.pass, .protocol) }
        return switch policy(for: flow.destination.address.family) {
        case .managed: nil
        case .pass: Verdict(.pass, .family)
        case .drop: Verdict(.drop, .family)
        }
    }

    /// Why `selection` leaves the flow alone, or `nil` when it does not.
    ///
    /// `peer` is the address the selection's networks speak of, and `reason` the name of an
    /// exclusion by it.
    private func exclusion(
        of flow: Flow, by selection: Selection, peer: IPAddress, named reason: Reason
    ) -> Reason? {
        if selection.excludedInterfaces.matches(flow.interface) { return .interface }
        if selection.excludedNetworks.contains(where: { $0.contains(peer) }) { return reason }
        if selection.excludedPorts.contains(flow.destination.port) { return .portExcluded }
        return selection.includes(port: flow.destination.port, peer: peer) ? nil : .notIncluded
    }
}

extension DNSCapture {
    fileprivate func captures(_ flow: Flow) -> Bool {
        flow.destination.port == Self.domainPort && protocols.contains(flow.protocol)
            && servers?.contains(flow.destination.address) ?? true
    }
}
