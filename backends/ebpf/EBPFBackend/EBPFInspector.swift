// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel
package import RedirectionEngine
package import RedirectionModel

/// Tells which map entries there would be, and are.
package struct EBPFInspector: PlanInspector {
    private let cgroup: Cgroup?
    private let inbound: InboundMethod
    private let features: FeatureCeiling

    package let mechanism = Mechanism.ebpf

    /// `cgroup` is where the workload's processes live: what is installed is found by the programs
    /// that act there.
    package init(
        below cgroup: Cgroup?, inbound: InboundMethod = .preferred,
        below features: FeatureCeiling = .none
    ) {
        self.cgroup = cgroup
        self.inbound = inbound
        self.features = features
    }

    package func render(_ plan: RedirectionPlan) throws(RedirectionError) -> RenderedPlan {
        try check(plan)
        return RenderedPlan(EBPFBackend.entries(of: plan, inbound: inbound))
    }

    package func notes(on plan: RedirectionPlan) -> [String] {
        guard plan.isEnabled else { return [] }
        var notes = [
            "MPTCP sockets are refused at socket(2) with EPROTONOSUPPORT, for no program sees their "
                + "subflows connect; applications fall back to TCP; one that is older than the "
                + "redirection is not seen, and neither are its connections"
        ]
        if IdentityMethod.preferred(below: features) == .attachment {
            notes.append(
                "this kernel tells a socket's pod by its cgroup alone: the owner of a socket may be "
                    + "who connects, and the peer an application sees the sidecar (ADR 0017)")
        }
        if plan.dns?.protocols.contains(.udp) == true {
            notes.append(
                "a UDP socket that asks several resolvers at once sees all answers come from the "
                    + "one it asked last")
            notes.append(
                "a UDP socket that was connected to a captured resolver keeps its source address "
                    + "when it is connected elsewhere, also to loopback: a socket that has a port "
                    + "cannot be bound anew")
        }
        return notes
    }

    package func deciders(
        on flow: Flow, under plan: RedirectionPlan
    ) throws(RedirectionError) -> [String] {
        try check(plan)
        let entries = EBPFBackend.deciding(flow, under: plan, inbound: inbound)
        return entries.isEmpty
            ? ["no map entry: the programs leave it alone"]
            : entries.map { "\($0)" }
    }

    package func installed(
        in workload: Workload
    ) async throws(RedirectionError) -> RenderedPlan? {
        let entries = try read(workload) { (maps, key) throws(KernelError) in
            try maps.entries(of: key)
        }
        return entries.map { RenderedPlan($0) }
    }

    package func counters(
        in workload: Workload
    ) async throws(RedirectionError) -> ReasonCounters {
        let counters = try read(workload) { (maps, key) throws(KernelError) in
            try maps.counters(of: key)
        }
        return counters ?? ReasonCounters()
    }

    private func check(_ plan: RedirectionPlan) throws(RedirectionError) {
        if let part = plan.partProgramsCannotSay(inbound) {
            throw .inexpressible(part: part, mechanism: mechanism)
        }
    }

    /// Reads the maps that decide for the workload; `nil` when none do.
    private func read<Value>(
        _ workload: Workload, _ body: (NodeMaps, UInt64) throws(KernelError) -> Value
    ) throws(RedirectionError) -> Value? {
        guard let cgroup else {
            throw .unsupported(
                feature: "reading what ebpf has installed",
                because: "the cgroup of \(workload.id) is not known; name a pod")
        }
        return try during("read the maps of \(workload.id)") { () throws(KernelError) in
            // Where both can be had, both are looked for: the ceiling is the other process's.
            for identity in IdentityMethod.allCases {
                guard let key = try? identity.key(of: workload) else { continue }
                guard let maps = try NodeMaps.find(key, on: cgroup) else { continue }
                return try body(maps, key)
            }
            return nil
        }
    }
}

extension RenderedPlan {
    /// A section a map, an entry a line.
    fileprivate init(_ entries: [MapEntry]) {
        let names = entries.map(\.map)
        let ordered = names.enumerated().filter { names.firstIndex(of: $0.element) == $0.offset }
        self.init(
            ordered.map { _, map in
                let own = entries.filter { $0.map == map }
                let width = own.map(\.key.count).max() ?? 0
                return Section(
                    map,
                    own.map { entry in
                        let padding = String(repeating: " ", count: width - entry.key.count)
                        return "\(entry.key)\(padding)  \(entry.value)"
                    })
            })
    }
}

extension RedirectionPlan {
    /// The part of the plan these programs cannot carry out exactly, if there is one.
    func partProgramsCannotSay(_ method: InboundMethod) -> String? {
        if let part = partNothingCanSay { return part }
        if !outbound.excludedInterfaces.isEmpty || !inbound.excludedInterfaces.isEmpty {
            // connect(2) comes before routing: nobody knows the interface yet.
            return "interface exclusion"
        }
        if inboundMode != .redirect, method != .socketLookup {
            // A rewritten port would be the sidecar's own destination.
            return "transparent inbound by tc"
        }
        if !virtualInterfaces.isEmpty {
            // Its packets belong to no socket here, and sockets are all the programs see.
            return "a virtual interface"
        }
        for family in AddressFamily.allCases where routableAddresses(family).count > 1 {
            // Which of them a connection comes from is decided by routes the programs cannot ask.
            return "a workload with more than one \(family) address"
        }
        return nil
    }
}

extension RedirectionPlan {
    /// The part of the plan that cannot be had where the workload is a cgroup.
    ///
    /// What arrives belongs to the network namespace, and to everybody in it.
    func partCgroupsCannotHave(_ workload: Workload) -> String? {
        guard workload.scope == .cgroup, isEnabled else { return nil }
        if !inbound.includesNothing { return "inbound redirection of a workload that is a cgroup" }
        if inboundMode != .redirect { return "transparent inbound of a workload that is a cgroup" }
        if AddressFamily.allCases.contains(where: { policy(for: $0) == .drop }) {
            return "dropping a family of a workload that is a cgroup"
        }
        return nil
    }
}

extension Selection {
    /// True when include lists are given and nothing is in them.
    fileprivate var includesNothing: Bool {
        let lists = [includedPorts?.isEmpty, includedNetworks?.isEmpty].compactMap(\.self)
        return combination == .all ? lists.contains(true) : !lists.isEmpty && !lists.contains(false)
    }
}
