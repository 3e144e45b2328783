// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
package import RedirectionEngine
package import RedirectionModel

extension EBPFBackend {
    /// The map entries that applying `plan` would write; the kernel is not asked.
    package static func entries(
        of plan: RedirectionPlan, inbound: InboundMethod = .socketLookup
    ) -> [MapEntry] {
        plan.isEnabled ? MapTable(plan, inbound).entries : []
    }

    /// The map entries that make the plan's verdict on `flow` what it is; none where it is off.
    package static func deciding(
        _ flow: Flow, under plan: RedirectionPlan, inbound: InboundMethod = .socketLookup
    ) -> [MapEntry] {
        let entries = entries(of: plan, inbound: inbound)
        let wanted = DecidingEntries(plan, flow.settled)
        return entries.filter { wanted.contains($0) }
    }

    /// What the kernel's maps hold about the workload, in the form of `entries(of:)`.
    package func installedEntries(
        in workload: Workload
    ) throws(RedirectionError) -> [MapEntry] {
        let key = try key(of: workload)
        return try during("read the maps of \(workload.id)") { () throws(KernelError) in
            try node.readable.entries(of: key)
        }
    }
}

/// Which entries a flow's verdict comes from.
private struct DecidingEntries {
    private let names: Set<String>

    init(_ plan: RedirectionPlan, _ flow: Flow) {
        let reason = plan.verdict(for: flow).reason
        let peer = flow.direction == .outbound ? flow.destination.address : flow.source.address
        let lists = PolicyLists(plan)
        let network = Self.network(of: peer, in: lists)
        // Few own addresses are in the pod's entry, and then the network set is not asked.
        let own = ["swerve_pods[own]"] + (lists.ownAddresses.isEmpty ? [] : [network])
        let side = flow.direction == .outbound ? "out" : "in"
        let decisive: [String] =
            switch reason {
            case .disabled: []
            case .dns: ["swerve_pods[dns-port]"] + (plan.dns?.servers == nil ? [] : [network])
            case .protocol, .loopback: ["swerve_pods[flags]"]
            case .family: ["swerve_pods[\(flow.destination.address.family)]"]
            case .passthrough: [Self.network(of: flow.source.address, in: lists)]
            case .selfCall: ["swerve_pods[inbound-port]"] + own
            case .sidecar:
                ["swerve_pods[sidecar-uid]", "swerve_pods[sidecar-gid]"]
                    + Self.owners(of: flow, in: lists)
            case .ownAddress: own
            case .uid, .gid, .uidPort: Self.owners(of: flow, in: lists)
            case .interface: []
            case .cidrExcluded, .sourceExcluded: [network]
            case .portExcluded: ["swerve_port_sets[\(side)-excluded]"]
            case .notIncluded:
                ["swerve_port_sets[\(side)-included]", network, "swerve_pods[flags]"]
            case .outbound: ["swerve_pods[outbound-port]"]
            case .sidecarPort: ["swerve_pods[inbound-port]", "swerve_port_sets[sidecar]"]
            case .inbound: ["swerve_pods[inbound-port]"]
            }
        names = Set(decisive)
    }

    func contains(_ entry: MapEntry) -> Bool { names.contains("\(entry.map)[\(entry.key)]") }

    /// The entry the trie finds.
    private static func network(of address: IPAddress, in lists: PolicyLists) -> String {
        let longest = lists.networks.keys.filter { $0.contains(address) }
            .max { $0.prefixLength < $1.prefixLength }
        return longest.map { "swerve_network_sets[\($0)]" } ?? ""
    }

    /// The entries of the flow's user and group.
    private static func owners(of flow: Flow, in lists: PolicyLists) -> [String] {
        guard let owner = flow.owner else { return [] }
        return OwnerTable(lists).entries.filter { entry in
            (entry.prefix.first...entry.prefix.last).contains(entry.isGroup ? owner.gid : owner.uid)
        }.map { "swerve_owners[\($0.isGroup ? "gid" : "uid") \($0.prefix)]" }
    }
}
