// SPDX-License-Identifier: Apache-2.0

internal import CBPFObjects
internal import LibBPF
internal import LinuxKernel
internal import SystemPackage

/// The node's programs and maps: loaded once, attached once to the pods' cgroup.
///
/// Nothing here outlives the process: links and maps are held by descriptors.
final class NodePrograms: Sendable {
    let pods: BPFMap
    let portSets: BPFMap
    let networkSets: BPFMap
    let owners: BPFMap
    let handshakes: BPFMap
    let listeners: BPFMap
    let flows: BPFMap
    let stats: BPFMap
    let reports: [ProgramReport]
    private let maps: [String: BPFMap]
    private let links: [BPFLink]

    init(attachingTo cgroup: Cgroup) throws(KernelError) {
        var maps: [String: BPFMap] = [:]
        var reports: [ProgramReport] = []
        var links: [BPFLink] = []
        // The programs that read what others write are attached first: a connection that is
        // redirected finds everything behind it in place.
        for part in Self.parts {
            let object = try Self.load(part.object, name: part.name, sharing: &maps)
            for (name, type) in part.programs {
                let program = try object.program(named: name)
                reports.append(ProgramReport(program))
                links.append(try BPFLink.attach(program, to: cgroup, type))
            }
        }
        self.maps = maps
        self.reports = reports
        self.links = links
        pods = try Self.map("swerve_pods", in: maps)
        portSets = try Self.map("swerve_port_sets", in: maps)
        networkSets = try Self.map("swerve_network_sets", in: maps)
        owners = try Self.map("swerve_owners", in: maps)
        handshakes = try Self.map("swerve_handshakes", in: maps)
        listeners = try Self.map("swerve_listeners", in: maps)
        flows = try Self.map("swerve_flows", in: maps)
        stats = try Self.map("swerve_stats", in: maps)
    }

    private struct Part: Sendable {
        let object: swerve_object_name
        let name: String
        let programs: [(String, BPFAttachType)]
    }

    private static let parts = [
        Part(
            object: SWERVE_OBJECT_GETSOCKOPT, name: "getsockopt",
            programs: [("swerve_getsockopt", .getsockopt)]),
        Part(
            object: SWERVE_OBJECT_SOCKOPS, name: "sockops", programs: [("swerve_sockops", .sockOps)]
        ),
        Part(
            object: SWERVE_OBJECT_CONNECT, name: "connect",
            programs: [
                ("swerve_getpeername4", .getpeername4), ("swerve_getpeername6", .getpeername6),
                ("swerve_sock_create", .socketCreate), ("swerve_connect4", .connect4),
                ("swerve_connect6", .connect6),
            ]),
    ]

    /// Loads a pod's own copy of a small object, over the node's maps.
    ///
    /// `data` is the whole of its `.rodata`, in the order of the C file.
    func loadForPod<ReadOnlyData: BitwiseCopyable>(
        _ object: swerve_object_name, name: String, data: ReadOnlyData
    ) throws(KernelError) -> PodObject {
        var shared = maps
        let loaded = try Self.load(object, name: name, sharing: &shared) {
            (object) throws(KernelError) in
            try object.setInitialValue(ofSection: ".rodata", to: data)
        }
        var programs: [String: BPFProgram] = [:]
        for name in loaded.programNames { programs[name] = try loaded.program(named: name) }
        return PodObject(programs: programs)
    }

    /// A pod's own programs, by name.
    struct PodObject: Sendable {
        let programs: [String: BPFProgram]

        func program(_ name: String) throws(KernelError) -> BPFProgram {
            guard let program = programs[name] else { throw missing(name) }
            return program
        }
    }

    /// Loads an object; maps that were made before are shared with it, new ones are kept.
    private static func load(
        _ name: swerve_object_name, name text: String, sharing maps: inout [String: BPFMap],
        preparing prepare: (borrowing BPFObject) throws(KernelError) -> Void = { _ in }
    ) throws(KernelError) -> BPFObject {
        let bytes = unsafe swerve_object(name)
        let file = unsafe UnsafeRawBufferPointer(start: bytes.start, count: bytes.size)
        var object = try unsafe BPFObject.open(file, name: text)
        try prepare(object)
        let names = object.mapNames
        for name in names {
            guard let map = maps[name] else { continue }
            try object.reuse(mapNamed: name, map)
        }
        try object.load()
        for name in names where maps[name] == nil { maps[name] = try object.map(named: name) }
        return object
    }

    private static func map(_ name: String, in maps: [String: BPFMap]) throws(KernelError) -> BPFMap
    {
        guard let map = maps[name] else { throw missing(name) }
        return map
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

private func missing(_ name: String) -> KernelError {
    KernelError("find \(name) in the BPF objects", .noSuchFileOrDirectory)
}
