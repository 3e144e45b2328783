// SPDX-License-Identifier: Apache-2.0

internal import CBPFObjects
internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel

/// The node's programs and maps: loaded once, attached once to the pods' cgroup.
///
/// Nothing here outlives the process: links and maps are held by descriptors.
final class NodePrograms: Sendable {
    let pods: BPFMap
    let portSets: BPFMap
    let networkSets: BPFMap
    let owners: BPFMap
    let handshakes: BPFMap
    let listening: BPFMap
    let listeners: BPFMap
    let flows: BPFMap
    let counts: BPFMap
    let stats: BPFMap
    /// How a socket's owner is found out on this kernel.
    let ownerMethod: OwnerMethod
    let reports: [ProgramReport]
    private let loader: ProgramLoader
    private let links: [BPFLink]

    init(attachingTo cgroup: Cgroup, owners wanted: OwnerMethod?) throws(KernelError) {
        var builder = Builder(cgroup: cgroup)
        for part in ProgramPart.readers { try builder.attach(part) }
        ownerMethod = try builder.attachOwners(wanted)
        for part in ProgramPart.deciders { try builder.attach(part) }
        reports = builder.reports
        links = builder.links
        loader = builder.loader
        pods = try loader.map("swerve_pods")
        portSets = try loader.map("swerve_port_sets")
        networkSets = try loader.map("swerve_network_sets")
        owners = try loader.map("swerve_owners")
        handshakes = try loader.map("swerve_handshakes")
        listening = try loader.map("swerve_listening")
        listeners = try loader.map("swerve_listeners")
        flows = try loader.map("swerve_flows")
        counts = try loader.map("swerve_counts")
        stats = try loader.map("swerve_stats")
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
