// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import LibBPF
package import LinuxKernel
package import RedirectionEngine
package import RedirectionModel
internal import SystemPackage

/// Redirection by BPF programs: at connect(2) outbound, at socket lookup or tc inbound.
///
/// The programs are loaded once and attached once to `cgroup`, below which all pods' processes
/// live; a pod is an entry of a map, and a small inbound program of its own (ADR 0009). When the
/// backend goes, everything it put into the kernel goes with it, but for tc filters, which
/// `remove` takes away.
package actor EBPFBackend: RedirectionBackend {
    package nonisolated let mechanism = Mechanism.ebpf
    private let inbound: InboundMethod
    private let node: NodePrograms
    private var sets: SetTable
    private var installations: [UInt64: Installation] = [:]

    /// What this process holds for a pod.
    private struct Installation {
        let set: UInt32
        let inbound: InboundAttachment
    }

    private init(_ node: NodePrograms, inbound: InboundMethod) {
        self.node = node
        self.inbound = inbound
        sets = SetTable(node)
    }

    /// Loads the programs and attaches them to `cgroup`, next to other people's.
    package static func load(
        attachingTo cgroup: Cgroup, inbound: InboundMethod = .preferred
    ) async throws(RedirectionError) -> EBPFBackend {
        let node = try during("load the BPF programs") { () throws(KernelError) in
            try NodePrograms(attachingTo: cgroup)
        }
        let backend = EBPFBackend(node, inbound: inbound)
        if inbound == .trafficControl { keepSweeping(backend) }
        return backend
    }

    /// Sweeps every now and then, for as long as somebody else holds the backend.
    private static func keepSweeping(_ backend: EBPFBackend) {
        Task { [weak backend] in
            while backend != nil {
                try await Task.sleep(for: .seconds(30))
                // A sweep that fails is one that comes later.
                try? await backend?.sweep()
            }
        }
    }

    package func apply(
        _ plan: RedirectionPlan, to workload: Workload
    ) async throws(RedirectionError) {
        if let part = inexpressiblePart(of: plan) {
            throw .inexpressible(part: part, mechanism: mechanism)
        }
        guard plan.isEnabled else { return try await remove(from: workload) }
        let key = try key(of: workload)
        let set: UInt32
        do throws(KernelError) {
            set = try sets.acquire(PolicyLists(plan))
        } catch {
            throw Self.explain(error, "write the lists of \(workload.id)")
        }
        do throws(RedirectionError) {
            try install(plan, set, key, workload)
        } catch {
            sets.release(set)
            throw error
        }
    }

    private func install(
        _ plan: RedirectionPlan, _ set: UInt32, _ key: UInt64, _ workload: Workload
    ) throws(RedirectionError) {
        let old = installations[key]
        let entry = plan.podEntry(set: set, usesSocketLookup: inbound == .socketLookup)
        let attachment: InboundAttachment
        do throws(KernelError) {
            // Attached, the programs still pass everything: the entry is what turns them on.
            if let old {
                attachment = old.inbound
            } else {
                attachment = try InboundAttachment(
                    inbound, podKey: key, to: workload.namespace, node)
            }
            try adoptListeners(on: plan.sidecar.inboundPort, key, workload)
            try node.pods.update(key, entry)
            // Those that began to listen meanwhile, unseen by the programs.
            try adoptListeners(on: plan.sidecar.inboundPort, key, workload)
        } catch {
            throw Self.explain(error, "redirect \(workload.id)")
        }
        installations[key] = Installation(set: set, inbound: attachment)
        if let old { sets.release(old.set) }
    }

    package func remove(from workload: Workload) async throws(RedirectionError) {
        let key = try key(of: workload)
        do throws(KernelError) {
            try node.pods.delete(key)
            if let old = installations.removeValue(forKey: key) {
                try old.inbound.detach(from: workload.namespace)
                sets.release(old.set)
            }
            try forgetListeners(key) { _ in true }
            try removeFlows { $0.pod == key }
        } catch {
            throw .kernel(error, during: "stop redirecting \(workload.id)")
        }
    }

    package func installed(
        in workload: Workload
    ) async throws(RedirectionError) -> PlanFingerprint? {
        let key = try key(of: workload)
        let entry = try during("read the entry of \(workload.id)") { () throws(KernelError) in
            try node.pods.lookup(key, as: swerve_pod.self)
        }
        return entry.map { PlanFingerprint(value: $0.fingerprint) }
    }

    private func key(of workload: Workload) throws(RedirectionError) -> UInt64 {
        try during("ask for the namespace cookie of \(workload.id)") { () throws(KernelError) in
            try workload.namespace.cookie()
        }
    }

    /// The part of the plan these programs cannot carry out exactly, if there is one.
    private func inexpressiblePart(of plan: RedirectionPlan) -> String? {
        if !plan.outbound.excludedInterfaces.isEmpty || !plan.inbound.excludedInterfaces.isEmpty {
            // connect(2) comes before routing: nobody knows the interface yet.
            return "interface exclusion"
        }
        for family in AddressFamily.allCases where plan.routableAddresses(family).count > 1 {
            // Which of them a connection comes from is decided by routes the programs cannot ask.
            return "a workload with more than one \(family) address"
        }
        return nil
    }

    /// Tells a map that is full from other refusals.
    private static func explain(_ error: KernelError, _ step: String) -> RedirectionError {
        switch error.errno {
        case .argListTooLong, .noSpace:
            .limit("\(step): a BPF map is full (\(error)); nothing was changed")
        default: .kernel(error, during: step)
        }
    }
}

// MARK: Listeners

extension EBPFBackend {
    /// Records the sidecar's listeners that were there before the programs could see them.
    private func adoptListeners(
        on port: UInt16, _ key: UInt64, _ workload: Workload
    ) throws(KernelError) {
        guard inbound == .socketLookup else { return }
        let listeners = try workload.namespace.listeningSockets(on: port)
        let wanted = Set(listeners.map(\.cookie))
        // Listeners of a port the plan no longer names must not be chosen.
        try forgetListeners(key) { !wanted.contains($0) }
        var known = try recordedListeners(key)
        for listener in listeners where !listener.isOnLoopback {
            guard !known.values.contains(listener.cookie),
                let free = Self.slots(key, listener.family).first(where: { known[Slot($0)] == nil })
            else { continue }
            try node.listeners.update(free, descriptor: listener.rawDescriptor)
            known[Slot(free)] = listener.cookie
        }
    }

    /// A listener's place within its pod.
    private struct Slot: Hashable {
        let family: UInt32
        let number: UInt32

        init(_ key: swerve_listener_key) {
            family = key.family
            number = key.slot
        }
    }

    private static func slots(_ pod: UInt64, _ family: AddressFamily) -> [swerve_listener_key] {
        (0..<UInt32(SWERVE_LISTENER_SLOTS)).map {
            swerve_listener_key(pod: pod, family: UInt32(family.domain), slot: $0)
        }
    }

    /// The recorded listeners' socket cookies, by slot.
    private func recordedListeners(_ key: UInt64) throws(KernelError) -> [Slot: UInt64] {
        var recorded: [Slot: UInt64] = [:]
        for family in AddressFamily.allCases {
            for slot in Self.slots(key, family) {
                recorded[Slot(slot)] = try node.listeners.lookup(slot, as: UInt64.self)
            }
        }
        return recorded
    }

    private func forgetListeners(
        _ key: UInt64, where isUnwanted: (UInt64) -> Bool
    ) throws(KernelError) {
        for family in AddressFamily.allCases {
            for slot in Self.slots(key, family) {
                guard let cookie = try node.listeners.lookup(slot, as: UInt64.self),
                    isUnwanted(cookie)
                else { continue }
                try node.listeners.delete(slot)
            }
        }
    }
}

// MARK: Upkeep

extension EBPFBackend {
    /// Removes the flows of connections that have been over for long enough.
    package func sweep() throws(RedirectionError) {
        let now = monotonicNanoseconds()
        try during("sweep finished flows") { () throws(KernelError) in
            for key in try node.flows.keys(as: swerve_flow_key.self) {
                let entry = try node.flows.lookup(key, as: swerve_flow_entry.self)
                guard let entry, entry.expires != 0, entry.expires < now else { continue }
                try node.flows.delete(key)
            }
        }
    }

    private func removeFlows(where isUnwanted: (swerve_flow_key) -> Bool) throws(KernelError) {
        for key in try node.flows.keys(as: swerve_flow_key.self) where isUnwanted(key) {
            try node.flows.delete(key)
        }
    }

    /// How many entries the maps hold: what a test, or an operator, wants to see empty.
    package func occupancy() throws(RedirectionError) -> [String: Int] {
        try during("count map entries") { () throws(KernelError) in
            var counts: [String: Int] = [:]
            for map in [
                node.pods, node.portSets, node.networkSets, node.owners, node.handshakes,
                node.listeners, node.flows,
            ] {
                counts[map.name] = try map.count()
            }
            return counts
        }
    }

    /// What went wrong so far, by the names of swerve_abi.h.
    package func failures() throws(RedirectionError) -> [String: UInt64] {
        let names = [
            "storage full", "handshakes full", "bind failed", "listeners full", "no listener",
            "flows full",
        ]
        return try during("read failure counters") { () throws(KernelError) in
            var counts: [String: UInt64] = [:]
            for (index, name) in names.enumerated() {
                counts[name] = try node.stats.sum(at: UInt32(index))
            }
            return counts
        }
    }

    /// The programs in use as the verifier saw them: the node's, and one pod's own.
    package var programs: [ProgramReport] {
        node.reports + (installations.values.first?.inbound.reports ?? [])
    }
}
