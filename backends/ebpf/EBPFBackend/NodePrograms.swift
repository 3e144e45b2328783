// SPDX-License-Identifier: Apache-2.0

internal import CBPFObjects
internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
internal import RedirectionEngine
internal import Synchronization
internal import SystemPackage

/// The node's programs and maps: loaded once, attached once to the pods' cgroup, or where a socket's
/// pod is known by attachment alone, to the cgroup of each.
///
/// Links and maps are held by descriptors, and by pins where there are any: without, nothing here
/// outlives the process.
final class NodePrograms: Sendable {
    let pods: BPFMap
    let portSets: BPFMap
    let networkSets: BPFMap
    let owners: BPFMap
    let handshakes: BPFMap
    /// What spares most connections an entry there, where the kernel's own types are known.
    let handovers: BPFMap?
    /// The maps of inbound by socket lookup, where the node's programs know of it.
    let listening: BPFMap?
    let listeners: BPFMap?
    let flows: BPFMap
    let counts: BPFMap
    let stats: BPFMap
    /// How a socket's owner is found out on this kernel.
    let ownerMethod: OwnerMethod
    let reports: [ProgramReport]
    /// How it is known which pod a socket is of.
    let identity: IdentityMethod
    let cgroup: Cgroup
    /// Whether an earlier process's maps go on: what is in them has to be known.
    let isAdopted: Bool
    private let loader: ProgramLoader
    private let store: PinStore?
    private let state: Mutex<State>
    private let features: FeatureCeiling
    private let wantedOwners: OwnerMethod?
    private let attachable: Mutex<AttachedPrograms?>

    private struct State {
        var builder: NodeBuilder
        var pins: PinDirectory?
        var older: Older?
    }

    /// A version whose place is to be taken as soon as its pods are known to the new one.
    private struct Older {
        let pins: PinDirectory
        var pods: Set<UInt64>
    }

    init(
        attachingTo cgroup: Cgroup, _ identity: IdentityMethod, owners wanted: OwnerMethod?,
        below features: FeatureCeiling, _ store: PinStore?
    ) throws(KernelError) {
        self.identity = identity
        self.features = features
        wantedOwners = wanted
        let older = store.flatMap { $0.current.exists ? nil : $0.older }
        isAdopted = store?.current.exists ?? false
        for pins in [store?.current, older].compactMap(\.self) {
            try pins.refuse(allBut: identity)
        }
        var builder = try Self.begin(cgroup, store, older)
        let attached: AttachedPrograms?
        switch identity {
        case .namespace:
            attached = nil
            let hasTypes = features.permits(KernelVersion(6, 2))
            ownerMethod = try builder.complete(hasTypes ? wanted : .realUser)
        case .attachment:
            let programs = try builder.completeAttached(wanted, below: features)
            attached = programs
            ownerMethod = programs.ownerMethod
        }
        attachable = Mutex(attached)
        try builder.pins?.note(identity)
        if let store, older == nil {
            if !isAdopted { try store.finish() }
            try store.removeOlder()
        }
        self.cgroup = cgroup
        self.store = store
        loader = builder.loader
        reports = attached?.reports ?? builder.reports
        pods = try loader.map("swerve_pods")
        portSets = try loader.map("swerve_port_sets")
        networkSets = try loader.map("swerve_network_sets")
        owners = try loader.map("swerve_owners")
        handshakes = try loader.map("swerve_handshakes")
        handovers = loader.maps["swerve_handovers"]
        listening = loader.maps["swerve_listening"]
        listeners = loader.maps["swerve_listeners"]
        flows = try loader.map("swerve_flows")
        counts = try loader.map("swerve_counts")
        stats = try loader.map("swerve_stats")
        state = Mutex(
            State(
                builder: builder, pins: older == nil ? store?.current : store?.unfinished,
                older: try older.map { older throws(KernelError) in
                    Older(pins: older, pods: try Self.pods(of: older, cgroup))
                }))
        try takeOverIfReady()
    }

    private static func begin(
        _ cgroup: Cgroup, _ store: PinStore?, _ older: PinDirectory?
    ) throws(KernelError) -> NodeBuilder {
        guard let store else { return NodeBuilder(cgroup) }
        let build = store.pins.build
        if store.current.exists {
            return try NodeBuilder(cgroup, adopting: store.current, build: build)
        }
        try store.unfinished.create()
        guard let older else { return NodeBuilder(cgroup, pins: store.unfinished, build: build) }
        return try NodeBuilder(cgroup, replacing: older, with: store.unfinished, build: build)
    }

    /// The pods an older version knows: their keys have never had another form.
    private static func pods(
        of older: PinDirectory, _ cgroup: Cgroup
    ) throws(KernelError) -> Set<UInt64> {
        if let map = try podMap(of: older, cgroup) { return Set(try map.keys(as: UInt64.self)) }
        guard older.linkNames.isEmpty, older.podKeys.isEmpty else {
            // Taken for none, its pods would be without a plan from now on.
            throw KernelError(
                "read the pods of \(older.path)", .noSuchFileOrDirectory,
                detail: "maps/swerve_pods is gone")
        }
        return []
    }

    /// Its map of pods; found by its programs when somebody has removed the pin.
    private static func podMap(
        of older: PinDirectory, _ cgroup: Cgroup
    ) throws(KernelError) -> BPFMap? {
        let name = "swerve_pods"
        if let map = try older.openMap(name) { return map.keySize == 8 ? map : nil }
        let known = Set(try older.openMaps().values.map(\.id))
        return try BPFMap.maps(ofProgramsOn: cgroup, .connect4)
            .first { maps in maps.contains { known.contains($0.id) } }?
            .first { $0.name == name && $0.keySize == 8 }
    }

    /// The programs for a workload's own cgroup; loaded when they are asked for first.
    func attachedPrograms() throws(KernelError) -> AttachedPrograms {
        if let programs = attachable.withLock({ $0 }) { return programs }
        var copy = loader
        let programs = try AttachedPrograms(&copy, owners: wantedOwners, below: features)
        // Of two that are loaded at once, either will do.
        attachable.withLock { $0 = programs }
        return programs
    }

    /// The same as the verifier saw them, if they have been.
    var cgroupReports: [ProgramReport] { attachable.withLock { $0?.reports } ?? [] }

    /// Those that say what is installed.
    var readable: NodeMaps {
        NodeMaps(
            pods: pods, portSets: portSets, networkSets: networkSets, owners: owners,
            counts: counts)
    }

    /// Loads a pod's own copy of a small object, over the node's maps.
    func loadForPod<ReadOnlyData: BitwiseCopyable>(
        _ object: swerve_object_name, name: String, data: ReadOnlyData
    ) throws(KernelError) -> LoadedPrograms {
        try loader.loadForPod(object, name: name, data: data)
    }

    func socketLookup(of pod: UInt64) throws(KernelError) -> BPFProgram {
        try loader.socketLookup(of: pod)
    }

    // MARK: Pins

    /// Whether an earlier process may have made what this one does not know of.
    var hasPins: Bool { store != nil }

    /// What is pinned for the pod, and by an older version that is still at work.
    func pins(of pod: UInt64) -> [PodPins] {
        state.withLock { [$0.pins, $0.older?.pins].compactMap { $0?.pod(pod) } }
    }

    /// The pods something is pinned for.
    var pinnedPods: [UInt64] { state.withLock { $0.pins?.podKeys ?? [] } }

    // MARK: Taking an older version's place

    /// Whether older programs decide until all their pods are known here.
    var isWaiting: Bool { state.withLock { $0.older != nil } }

    /// The pod needs no older version any more; `nil`: no pod does.
    func settle(_ pod: UInt64?) throws(KernelError) {
        state.withLock { state in
            if let pod { state.older?.pods.remove(pod) } else { state.older?.pods = [] }
        }
        try takeOverIfReady()
    }

    /// Takes the pod from an older version that is still at work: what it redirects is to end now.
    func removeFromOlder(_ pod: UInt64) throws(KernelError) {
        try state.withLock { (state) throws(KernelError) in
            guard let older = state.older else { return }
            ChangeLog.about(to: .entries, "remove pod \(pod) from \(older.pins.path)")
            try Self.podMap(of: older.pins, cgroup)?.delete(pod)
        }
    }

    private func takeOverIfReady() throws(KernelError) {
        guard let store else { return }
        try state.withLock { (state) throws(KernelError) in
            guard let older = state.older, older.pods.isEmpty else { return }
            try state.builder.takeOver(from: older.pins)
            try store.finish()
            state.pins = store.current
            state.older = nil
            try store.removeOlder()
        }
    }
}

// MARK: What others do to it

extension NodePrograms {
    /// What is not as this left it: programs detached, pins removed.
    func flaws() throws(KernelError) -> [Drift] {
        try state.withLock { (state) throws(KernelError) in
            guard state.older == nil else { return [] }
            return try state.builder.flaws(state.pins)
        }
    }

    /// Attaches and pins again what is not as this left it.
    func repair() throws(KernelError) {
        try state.withLock { (state) throws(KernelError) in
            guard state.older == nil else { return }
            try state.builder.repair(state.pins)
        }
    }
}

/// A program as the verifier saw it.
package struct ProgramReport: Hashable, Sendable {
    package let name: String
    package let id: UInt32
    /// How many instructions the verifier walked: its effort, and the budget's measure.
    package let verifiedInstructions: Int

    init(_ program: BPFProgram) {
        name = program.name
        id = program.id
        verifiedInstructions = program.verifiedInstructions
    }
}
