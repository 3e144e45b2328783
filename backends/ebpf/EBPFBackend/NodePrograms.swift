// SPDX-License-Identifier: Apache-2.0

internal import CBPFObjects
internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
internal import RedirectionEngine
internal import Synchronization

/// The node's programs and maps: loaded once, attached once to the pods' cgroup, or where a socket's
/// pod is known by attachment alone, to the cgroup of each.
///
/// Nothing here outlives the process: links and maps are held by descriptors.
final class NodePrograms: Sendable {
    let pods: BPFMap
    let portSets: BPFMap
    let networkSets: BPFMap
    let owners: BPFMap
    let handshakes: BPFMap
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
    private let loader: ProgramLoader
    private let links: [BPFLink]
    private let features: FeatureCeiling
    private let wantedOwners: OwnerMethod?
    private let attachable: Mutex<AttachedPrograms?>

    init(
        attachingTo cgroup: Cgroup, _ identity: IdentityMethod, owners wanted: OwnerMethod?,
        below features: FeatureCeiling
    ) throws(KernelError) {
        self.identity = identity
        self.features = features
        wantedOwners = wanted
        switch identity {
        case .namespace:
            var builder = Builder(cgroup: cgroup)
            for part in ProgramPart.readers + [.peername] { try builder.attach(part) }
            ownerMethod = try builder.attachOwners(wanted)
            for part in ProgramPart.deciders { try builder.attach(part) }
            reports = builder.reports
            links = builder.links
            loader = builder.loader
            attachable = Mutex(nil)
        case .attachment:
            var loader = ProgramLoader()
            let programs = try AttachedPrograms(&loader, owners: wanted, below: features)
            ownerMethod = programs.ownerMethod
            reports = programs.reports
            links = []
            self.loader = loader
            attachable = Mutex(programs)
        }
        pods = try loader.map("swerve_pods")
        portSets = try loader.map("swerve_port_sets")
        networkSets = try loader.map("swerve_network_sets")
        owners = try loader.map("swerve_owners")
        handshakes = try loader.map("swerve_handshakes")
        listening = loader.maps["swerve_listening"]
        listeners = loader.maps["swerve_listeners"]
        flows = try loader.map("swerve_flows")
        counts = try loader.map("swerve_counts")
        stats = try loader.map("swerve_stats")
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

    /// Those that say what is installed.
    var readable: NodeMaps {
        NodeMaps(
            pods: pods, portSets: portSets, networkSets: networkSets, owners: owners,
            counts: counts)
    }

    /// Loads and attaches a part after the other.
    private struct Builder {
        let cgroup: Cgroup
        var loader = ProgramLoader()
        var reports: [ProgramReport] = []
        var links: [BPFLink] = []

        init(cgroup: Cgroup) { self.cgroup = cgroup }

        mutating func attach(_ part: ProgramPart) throws(KernelError) {
            let loaded = try loader.load(part)
            for place in part.places {
                let program = try loaded.program(place.program)
                reports.append(ProgramReport(program))
                links.append(try BPFLink.attach(program, to: cgroup, place.type))
            }
        }

        /// Attaches the programs that say who a socket's owner is, the best the kernel takes.
        mutating func attachOwners(_ wanted: OwnerMethod?) throws(KernelError) -> OwnerMethod {
            if wanted != .realUser {
                let before = self
                do throws(KernelError) {
                    try attach(ProgramPart.exactOwner)
                    return .credentials
                } catch {
                    // Some of its programs may act already; they go with their links.
                    self = before
                    guard wanted == nil, error.saysNoExactOwner else { throw error }
                }
            }
            try attach(ProgramPart.basicOwner)
            return .realUser
        }
    }

    /// Loads a pod's own copy of a small object, over the node's maps.
    func loadForPod<ReadOnlyData: BitwiseCopyable>(
        _ object: swerve_object_name, name: String, data: ReadOnlyData
    ) throws(KernelError) -> LoadedPrograms {
        try loader.loadForPod(object, name: name, data: data)
    }
}

/// A program as the verifier saw it.
package struct ProgramReport: Hashable, Sendable {
    package let name: String
    /// How many instructions the verifier walked: its effort, and the budget's measure.
    package let verifiedInstructions: Int

    init(_ program: BPFProgram) {
        name = program.name
        verifiedInstructions = program.verifiedInstructions
    }
}
