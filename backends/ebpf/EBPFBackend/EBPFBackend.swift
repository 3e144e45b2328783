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
/// live; a pod is an entry of a map, and a small inbound program of its own (ADR 0009). With pins,
/// all of it outlives the process, and the next one goes on with it (ADR 0016). Without, it goes
/// with the backend, but for tc filters, which `remove` takes away.
package actor EBPFBackend: RedirectionBackend {
    package nonisolated let mechanism = Mechanism.ebpf
    let inbound: InboundMethod
    let node: NodePrograms
    var sets: SetTable
    var installations: [UInt64: Installation] = [:]
    /// What becomes of a plan before it is compiled: nothing, but for tests that look for faults.
    let rewrite: @Sendable (RedirectionPlan) -> RedirectionPlan

    /// What is held for a pod, by this process or an earlier one.
    struct Installation {
        /// Its lists; `nil` where a crash, or an older version, has left no entry.
        let set: UInt32?
        let inboundPort: UInt16?
        let routing: TransparentRouting?
        /// Nothing for a workload that is a cgroup.
        let inbound: InboundAttachment?
        /// The programs on its cgroup, where it is known by that.
        var attached: CgroupInstallation?
    }

    private init(
        _ node: NodePrograms, _ sets: SetTable, inbound: InboundMethod,
        rewrite: @escaping @Sendable (RedirectionPlan) -> RedirectionPlan
    ) {
        self.node = node
        self.inbound = inbound
        self.rewrite = rewrite
        self.sets = sets
    }

    /// Loads the programs and attaches them to `cgroup`, next to other people's.
    ///
    /// With `pins`, goes on where an earlier process has ended; there, one process at a time.
    /// When that was an older version, its programs go on deciding until all its pods have been
    /// applied anew, removed, or forgotten.
    ///
    /// `inbound` and `owners` are the best the kernel has below the ceiling of `features`, where
    /// they are not given. Where the kernel cannot tell a socket's namespace, the programs are
    /// attached to the cgroup of each workload instead. `rewriting` is for tests: the faults of a
    /// compiler can be had by compiling another plan than the one that was asked for.
    package static func load(
        attachingTo cgroup: Cgroup, inbound: InboundMethod? = nil,
        owners: OwnerMethod? = nil, below features: FeatureCeiling = .none, pins: BPFPins? = nil,
        rewriting: @escaping @Sendable (RedirectionPlan) -> RedirectionPlan = { $0 }
    ) async throws(RedirectionError) -> EBPFBackend {
        let identity = try during("find out how workloads are told apart") {
            () throws(KernelError) in try IdentityMethod.found(below: features)
        }
        let inbound = inbound ?? .preferred(below: features)
        if identity == .attachment, inbound == .socketLookup {
            throw .unsupported(
                feature: "inbound by socket lookup", because: "it needs Linux 5.15 as we use it")
        }
        var store: PinStore?
        if let pins { store = try await PinStore.open(pins) }
        let (node, sets) = try during("load the BPF programs") { () throws(KernelError) in
            let node = try NodePrograms(
                attachingTo: cgroup, identity, owners: owners, below: features, store)
            return (node, try SetTable(node))
        }
        let backend = EBPFBackend(node, sets, inbound: inbound, rewrite: rewriting)
        try await backend.clearLeftovers()
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

    // MARK: Applying

    package func apply(
        _ plan: RedirectionPlan, to workload: Workload
    ) async throws(RedirectionError) {
        try refuseOurselves(workload)
        let plan = rewrite(plan)
        let part = plan.partProgramsCannotSay(inbound) ?? plan.partCgroupsCannotHave(workload)
        if let part { throw .inexpressible(part: part, mechanism: mechanism) }
        guard plan.isEnabled else { return try await remove(from: workload) }
        let key = try key(of: workload)
        try during("attach what was detached") { () throws(KernelError) in try node.repair() }
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
        try during("take an older version's place") { () throws(KernelError) in
            try node.settle(key)
        }
    }

    private func install(
        _ plan: RedirectionPlan, _ set: UInt32, _ key: UInt64, _ workload: Workload
    ) throws(RedirectionError) {
        let old = try during("look for what was there") { () throws(KernelError) in
            try held(key, workload)
        }
        let port = plan.sidecar.inboundPort
        var entry = plan.podEntry(set: set, usesSocketLookup: inbound == .socketLookup)
        let target = try target(of: workload)
        var attached: CgroupInstallation?
        var attachment: InboundAttachment?
        do throws(KernelError) {
            if try mayBeRenumbered(key, workload) {
                entry.flags |= UInt32(SWERVE_POD_RENUMBERED.rawValue)
            }
            // An older version's programs do not read it yet, and the heirs of its pod's own will.
            if node.isWaiting { try enter(entry, key, isNew: true) }
            if let target { attached = try attach(key, to: target, replacing: old?.attached) }
            // Attached, the programs still do as before: the entry is what changes everything.
            if workload.scope == .namespace {
                attachment = try InboundAttachment(
                    inbound, podKey: key, to: workload.namespace, node, replacing: old?.inbound)
            }
            try adoptListeners(on: port, key, workload)
            try installRouting(plan, in: workload)
            // Handshakes of NAT's are known before the first packet is decided about.
            if inbound == .trafficControl { _ = try? reserve(entry, key, workload) }
            try enter(entry, key, isNew: old?.set == nil)
        } catch {
            try? attachment?.detach(from: workload.namespace, key, node, sparing: old?.inbound)
            restoreRouting(old, in: workload)
            undo(attached, of: key, on: target, old)
            if old?.set == nil {
                try? removeEntry(key)
                try? removeFlows { $0.pod == key }
            }
            if old?.inboundPort != port { try? forgetListeners(key, port) }
            throw Self.explain(error, "redirect \(workload.id)")
        }
        installations[key] = Installation(
            set: set, inboundPort: port, routing: plan.transparentRouting, inbound: attachment,
            attached: attached)
        settle(old, key, plan, workload)
        // Where that fails, connections are known by number for longer than they need to be.
        try? endRenumbering(entry, key, workload)
    }

    /// Writes the entry, which is what makes a plan hold.
    private func enter(
        _ entry: swerve_pod, _ key: UInt64, isNew: Bool
    ) throws(KernelError) {
        if isNew {
            ChangeLog.about(to: .entries, "count from zero for pod \(key)")
            try node.counts.setPerCPU(key, all: swerve_counts())
        }
        ChangeLog.about(to: .entries, "enter pod \(key)")
        try node.pods.update(key, entry)
    }

    /// From here on the new plan holds, and is counted; gives up what only the old one needed.
    private func settle(
        _ old: Installation?, _ key: UInt64, _ plan: RedirectionPlan, _ workload: Workload
    ) {
        let port = plan.sidecar.inboundPort
        // Should that fail, older counts stay.
        if old?.set != nil { try? node.counts.setPerCPU(key, all: swerve_counts()) }
        // Listeners that began meanwhile, unseen by programs and
        // scan alike, are looked for once more; should that fail, the next apply will.
        try? adoptListeners(on: port, key, workload)
        if let old { discard(old, key, for: port) }
        settleRouting(plan, in: workload)
    }

    /// The cgroup that the programs are attached to, where the workload is known by that.
    private func target(of workload: Workload) throws(RedirectionError) -> Cgroup? {
        guard node.identity == .attachment || workload.scope == .cgroup else { return nil }
        guard let cgroup = workload.cgroup else {
            throw .unsupported(
                feature: "cookie of a network namespace for all programs",
                because: "\(workload.id) is to be known by its cgroup, and that is not given")
        }
        return cgroup
    }

    private func attach(
        _ key: UInt64, to cgroup: Cgroup, replacing old: CgroupInstallation?
    ) throws(KernelError) -> CgroupInstallation {
        try node.attachedPrograms().attach(
            to: cgroup, as: key, replacing: old, node.pins(of: key))
    }

    /// Takes programs away from the cgroup that were attached for nothing; those that took the place
    /// of older ones stay, for the older plan goes on by them.
    private func undo(
        _ attached: CgroupInstallation?, of key: UInt64, on cgroup: Cgroup?, _ old: Installation?
    ) {
        guard var old else {
            let left = attached ?? (try? CgroupInstallation(of: key, cgroup, node)) ?? nil
            try? left?.detach()
            for pins in node.pins(of: key) { try? pins.remove() }
            return
        }
        old.attached = attached ?? old.attached
        installations[key] = old
    }

    /// No program is ever put where the machine's own connections, or ours, would meet it.
    func refuseOurselves(_ workload: Workload) throws(RedirectionError) {
        try workload.refuseOwnNamespace()
        if node.identity == .attachment || workload.scope == .cgroup {
            try workload.refuseOwnCgroup()
        }
    }

    /// Gives up what only the replaced plan needed, once no program can be reading it.
    private func discard(_ old: Installation, _ key: UInt64, for port: UInt16) {
        if old.inboundPort != port { try? forgetListeners(key, sparing: port) }
        guard let set = old.set else { return }
        sets.awaitReaders()
        sets.release(set)
    }

    // MARK: Removing

    package func remove(from workload: Workload) async throws(RedirectionError) {
        try refuseOurselves(workload)
        let key = try key(of: workload)
        do throws(KernelError) {
            let old = try held(key, workload)
            try node.removeFromOlder(key)
            try removeEntry(key)
            try forgetListeners(key)
            try removeFlows { $0.pod == key }
            try removeRouting(from: workload)
            if let attached = old?.attached {
                try attached.detach()
                // Nobody is left who would hand their origins over, or see their sockets close.
                try removeHandshakes { $0 == key }
            }
            try old?.inbound?.detach(from: workload.namespace, key, node)
            for pins in node.pins(of: key) { try pins.remove() }
            installations[key] = nil
            if let set = old?.set {
                sets.awaitReaders()
                sets.release(set)
            }
            try node.settle(key)
        } catch {
            throw .kernel(error, during: "stop redirecting \(workload.id)")
        }
    }

    func removeEntry(_ key: UInt64) throws(KernelError) {
        ChangeLog.about(to: .entries, "remove pod \(key)")
        try node.pods.delete(key)
        try node.counts.delete(key)
    }

    // MARK: What there is

    /// What is held for the pod: what this process knows, or finds of an earlier one.
    func held(_ key: UInt64, _ workload: Workload) throws(KernelError) -> Installation? {
        if let known = installations[key] { return known }
        guard node.hasPins else { return nil }
        let entry = try node.pods.lookup(key, as: swerve_pod.self)
        let isNamespace = workload.scope == .namespace
        let set = sets.inherit(key)
        let found = Installation(
            set: set, inboundPort: entry?.inbound_port,
            routing: isNamespace
                ? try TransparentRouting.installed(in: workload.namespace, for: .programs) : nil,
            inbound: isNamespace
                ? try InboundAttachment(of: key, in: workload.namespace, node) : nil,
            attached: try CgroupInstallation(of: key, workload.cgroup, node))
        let isEmpty = (found.inbound?.isEmpty ?? true) && found.attached == nil
        guard entry != nil || set != nil || !isEmpty else { return nil }
        installations[key] = found
        return found
    }

    package func installed(
        in workload: Workload
    ) async throws(RedirectionError) -> PlanFingerprint? {
        let key = try key(of: workload)
        let entry = try during("read the entry of \(workload.id)") { () throws(KernelError) in
            try node.pods.lookup(key, as: swerve_pod.self)
        }
        // One that is being retired still serves connections, and redirects no new ones.
        guard let entry, entry.has(SWERVE_POD_ENABLED) else { return nil }
        guard workload.scope == .namespace else {
            return PlanFingerprint(value: entry.fingerprint)
        }
        // A part of a plan is not a plan.
        let routing = try during("read routing rules") { () throws(KernelError) in
            try TransparentRouting.installed(in: workload.namespace, for: .programs)
        }
        let isTransparent = entry.has(SWERVE_POD_TRANSPARENT)
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

extension swerve_pod {
    func has(_ flag: swerve_pod_flag) -> Bool { flags & UInt32(flag.rawValue) != 0 }
}
