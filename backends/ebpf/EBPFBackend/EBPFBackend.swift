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
    let node: NodePrograms
    private var sets: SetTable
    private var installations: [UInt64: Installation] = [:]
    /// What becomes of a plan before it is compiled: nothing, but for tests that look for faults.
    private let rewrite: @Sendable (RedirectionPlan) -> RedirectionPlan

    /// What this process holds for a pod.
    private struct Installation {
        let set: UInt32
        let inboundPort: UInt16
        let routing: TransparentRouting?
        /// Nothing for a workload that is a cgroup.
        let inbound: InboundAttachment?
        /// The programs on its cgroup, where it is known by that.
        let attached: CgroupInstallation?
    }

    private init(
        _ node: NodePrograms, inbound: InboundMethod,
        rewrite: @escaping @Sendable (RedirectionPlan) -> RedirectionPlan
    ) {
        self.node = node
        self.inbound = inbound
        self.rewrite = rewrite
        sets = SetTable(node)
    }

    /// Loads the programs and attaches them to `cgroup`, next to other people's.
    ///
    /// `inbound` and `owners` are the best the kernel has below the ceiling of `features`, where
    /// they are not given. Where the kernel cannot tell a socket's namespace, the programs are
    /// attached to the cgroup of each workload instead.
    ///
    /// `rewriting` is for tests: the faults of a compiler can be had by compiling another plan than
    /// the one that was asked for.
    package static func load(
        attachingTo cgroup: Cgroup, inbound: InboundMethod? = nil, owners: OwnerMethod? = nil,
        below features: FeatureCeiling = .none,
        rewriting: @escaping @Sendable (RedirectionPlan) -> RedirectionPlan = { $0 }
    ) async throws(RedirectionError) -> EBPFBackend {
        let identity = IdentityMethod.preferred(below: features)
        let inbound = inbound ?? .preferred(below: features)
        if identity == .attachment, inbound == .socketLookup {
            throw .unsupported(
                feature: "inbound by socket lookup", because: "it needs Linux 5.15 as we use it")
        }
        let node = try during("load the BPF programs") { () throws(KernelError) in
            try NodePrograms(attachingTo: cgroup, identity, owners: owners, below: features)
        }
        let backend = EBPFBackend(node, inbound: inbound, rewrite: rewriting)
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

    /// Makes of the plan what the programs read, without a kernel; returns how many entries.
    package static func compile(_ plan: RedirectionPlan) -> Int {
        let lists = PolicyLists(plan)
        return lists.portElements.count + lists.networks.count
            + OwnerTable(lists).entries.count
    }

    package func apply(
        _ plan: RedirectionPlan, to workload: Workload
    ) async throws(RedirectionError) {
        try refuseOurselves(workload)
        let plan = rewrite(plan)
        let part = plan.partProgramsCannotSay(inbound) ?? plan.partCgroupsCannotHave(workload)
        if let part { throw .inexpressible(part: part, mechanism: mechanism) }
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
        let port = plan.sidecar.inboundPort
        let entry = plan.podEntry(set: set, usesSocketLookup: inbound == .socketLookup)
        let attached = try attach(key, workload, replacing: old?.attached)
        var attachment: InboundAttachment?
        do throws(KernelError) {
            // Attached, the programs still do as before: the entry is what changes everything.
            if workload.scope == .namespace {
                attachment = try InboundAttachment(
                    inbound, podKey: key, to: workload.namespace, node, replacing: old?.inbound)
            }
            try adoptListeners(on: port, key, workload)
            try plan.transparentRouting?.install(in: workload.namespace, for: .programs)
            if old == nil { try node.counts.setPerCPU(key, all: swerve_counts()) }
            try node.pods.update(key, entry)
        } catch {
            try? attachment?.detach(from: workload.namespace, sparing: old?.inbound)
            restoreRouting(old, in: workload)
            if old == nil { _ = try? node.counts.delete(key) }
            if old?.inboundPort != port { try? forgetListeners(key, port) }
            throw Self.explain(error, "redirect \(workload.id)")
        }
        installations[key] = Installation(
            set: set, inboundPort: port, routing: plan.transparentRouting, inbound: attachment,
            attached: attached)
        // From here on the new plan holds, and is counted. Should that fail, older counts stay.
        if old != nil { try? node.counts.setPerCPU(key, all: swerve_counts()) }
        // Listeners that began meanwhile, unseen by programs and
        // scan alike, are looked for once more; should that fail, the next apply will.
        try? adoptListeners(on: port, key, workload)
        if let old { retire(old, key, for: port) }
        if plan.transparentRouting == nil { restoreRouting(nil, in: workload) }
    }

    /// Attaches the programs to the workload's own cgroup, where it is known by that.
    private func attach(
        _ key: UInt64, _ workload: Workload, replacing old: CgroupInstallation?
    ) throws(RedirectionError) -> CgroupInstallation? {
        guard node.identity == .attachment || workload.scope == .cgroup else { return nil }
        guard let cgroup = workload.cgroup else {
            throw .unsupported(
                feature: "cookie of a network namespace for all programs",
                because: "\(workload.id) is to be known by its cgroup, and that is not given")
        }
        return try during("attach to the cgroup of \(workload.id)") { () throws(KernelError) in
            if let old, try cgroup.id() == old.id { return old }
            return try node.attachedPrograms().attach(to: cgroup, as: key)
        }
    }

    /// No program is ever put where the machine's own connections, or ours, would meet it.
    private func refuseOurselves(_ workload: Workload) throws(RedirectionError) {
        try workload.refuseOwnNamespace()
        if node.identity == .attachment || workload.scope == .cgroup {
            try workload.refuseOwnCgroup()
        }
    }

    /// Puts back the routing of the replaced plan; none when it had none.
    private func restoreRouting(_ old: Installation?, in workload: Workload) {
        // A cgroup has no routing of its own, and its namespace may be the machine's.
        guard workload.scope == .namespace else { return }
        // What cannot be put back now is what the next apply or remove looks for.
        if let routing = old?.routing {
            try? routing.install(in: workload.namespace, for: .programs)
        } else {
            try? TransparentRouting.remove(from: workload.namespace, for: .programs)
        }
    }

    /// Gives up what only the replaced plan needed, once no program can be reading it.
    private func retire(_ old: Installation, _ key: UInt64, for port: UInt16) {
        if old.inboundPort != port { try? forgetListeners(key, old.inboundPort) }
        sets.awaitReaders()
        sets.release(old.set)
    }

    package func remove(from workload: Workload) async throws(RedirectionError) {
        try refuseOurselves(workload)
        let key = try key(of: workload)
        let old = installations[key]
        do throws(KernelError) {
            let entry = try node.pods.lookup(key, as: swerve_pod.self)
            try node.pods.delete(key)
            try node.counts.delete(key)
            // A removal that failed half-way left no entry: what we hold still knows the port.
            for port in Set([entry?.inbound_port, old?.inboundPort].compactMap { $0 }) {
                try forgetListeners(key, port)
            }
            try removeFlows { $0.pod == key }
            if workload.scope == .namespace {
                try TransparentRouting.remove(from: workload.namespace, for: .programs)
            }
            guard let old else { return }
            try old.inbound?.detach(from: workload.namespace)
            installations[key] = nil
            sets.awaitReaders()
            sets.release(old.set)
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
        guard let entry else { return nil }
        guard workload.scope == .namespace else {
            return PlanFingerprint(value: entry.fingerprint)
        }
        // A part of a plan is not a plan.
        let routing = try during("read routing rules") { () throws(KernelError) in
            try TransparentRouting.installed(in: workload.namespace, for: .programs)
        }
        let isTransparent = entry.flags & UInt32(SWERVE_POD_TRANSPARENT.rawValue) != 0
        let wanted = installations[key].map(\.routing) ?? (isTransparent ? routing : nil)
        guard routing == wanted, isTransparent == (wanted != nil) else { return nil }
        return PlanFingerprint(value: entry.fingerprint)
    }

    func key(of workload: Workload) throws(RedirectionError) -> UInt64 {
        try during("ask for the key of \(workload.id)") { () throws(KernelError) in
            try node.identity.key(of: workload)
        }
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
        guard inbound == .socketLookup, let listening = node.listening else { return }
        for listener in try workload.namespace.listeningSockets(on: port) {
            guard !listener.isOnLoopback else { continue }
            try listening.update(listener.rawDescriptor, UInt32(port))
            try record(listener, key, port)
        }
    }

    /// Puts the listener into the first free slot, unless it has one.
    private func record(
        _ listener: ListeningSocket, _ key: UInt64, _ port: UInt16
    ) throws(KernelError) {
        guard let listeners = node.listeners else { return }
        var free: [swerve_listener_key] = []
        for slot in Self.slots(key, port, listener.family) {
            let cookie = try listeners.lookup(slot, as: UInt64.self)
            if cookie == listener.cookie { return }
            if cookie == nil { free.append(slot) }
        }
        for slot in free {
            do throws(KernelError) {
                try listeners.update(slot, descriptor: listener.rawDescriptor, .noExist)
                return
            } catch {
                // The programs have just filled it with another; there may be a next one.
                guard error.errno == .fileExists else { throw error }
            }
        }
    }

    private static func slots(
        _ pod: UInt64, _ port: UInt16, _ family: AddressFamily
    ) -> [swerve_listener_key] {
        (0..<UInt16(SWERVE_LISTENER_SLOTS)).map {
            swerve_listener_key(pod: pod, family: UInt32(family.domain), port: port, slot: $0)
        }
    }

    private func forgetListeners(_ key: UInt64, _ port: UInt16) throws(KernelError) {
        for family in AddressFamily.allCases {
            for slot in Self.slots(key, port, family) { try node.listeners?.delete(slot) }
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
                node.flows, node.counts,
            ] + [node.listeners].compactMap(\.self) {
                counts[map.name] = try map.count()
            }
            return counts
        }
    }

    /// What went wrong so far, by the names of swerve_abi.h.
    package func failures() throws(RedirectionError) -> [String: UInt64] {
        let names = [
            "storage full", "handshakes full", "bind failed", "listeners full", "no listener",
            "flows full", "mptcp refused", "no source",
        ]
        return try during("read failure counters") { () throws(KernelError) in
            var counts: [String: UInt64] = [:]
            for (index, name) in names.enumerated() {
                counts[name] = try node.stats.sum(at: UInt32(index))
            }
            return counts
        }
    }

    /// How this backend finds out who a socket's owner is.
    package nonisolated var ownerMethod: OwnerMethod { node.ownerMethod }

    /// The programs in use as the verifier saw them: the node's, and one pod's own.
    package var programs: [ProgramReport] {
        node.reports + (installations.values.first?.inbound?.reports ?? [])
    }
}
