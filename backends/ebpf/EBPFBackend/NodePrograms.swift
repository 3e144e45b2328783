// SPDX-License-Identifier: Apache-2.0

internal import CBPFObjects
internal import CSwerveABI
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
    let listening: BPFMap
    let listeners: BPFMap
    let flows: BPFMap
    let counts: BPFMap
    let stats: BPFMap
    /// How a socket's owner is found out on this kernel.
    let ownerMethod: OwnerMethod
    let reports: [ProgramReport]
    private let maps: [String: BPFMap]
    private let links: [BPFLink]

    init(attachingTo cgroup: Cgroup, owners wanted: OwnerMethod?) throws(KernelError) {
        var loader = Loader(cgroup: cgroup)
        // The programs that read what others write are attached first: a connection that is
        // redirected finds everything behind it in place.
        for part in Self.readers { try loader.attach(part) }
        ownerMethod = try loader.attachOwners(wanted)
        for part in Self.deciders { try loader.attach(part) }
        maps = loader.maps
        reports = loader.reports
        links = loader.links
        pods = try Self.map("swerve_pods", in: maps)
        portSets = try Self.map("swerve_port_sets", in: maps)
        networkSets = try Self.map("swerve_network_sets", in: maps)
        owners = try Self.map("swerve_owners", in: maps)
        handshakes = try Self.map("swerve_handshakes", in: maps)
        listening = try Self.map("swerve_listening", in: maps)
        listeners = try Self.map("swerve_listeners", in: maps)
        flows = try Self.map("swerve_flows", in: maps)
        counts = try Self.map("swerve_counts", in: maps)
        stats = try Self.map("swerve_stats", in: maps)
    }

    /// Those that say what is installed.
    var readable: NodeMaps {
        NodeMaps(
            pods: pods, portSets: portSets, networkSets: networkSets, owners: owners,
            counts: counts)
    }

    /// Loads and attaches an object after the other; they share the maps.
    private struct Loader {
        let cgroup: Cgroup
        var maps: [String: BPFMap] = [:]
        var reports: [ProgramReport] = []
        var links: [BPFLink] = []
        private let abilities = swerve_abilities(
            has_set_retval: BPFProbe.helper(.setReturnValue, in: .cgroupSocketAddress, .connect4)
                == .yes ? 1 : 0)

        init(cgroup: Cgroup) { self.cgroup = cgroup }

        mutating func attach(_ part: Part) throws(KernelError) {
            let abilities = abilities
            let object = try NodePrograms.load(part.object, name: part.name, sharing: &maps) {
                (object) throws(KernelError) in
                guard part.asksAbilities else { return }
                try object.setInitialValue(ofSection: ".rodata.abilities", to: abilities)
            }
            for (name, type) in part.programs {
                let program = try object.program(named: name)
                reports.append(ProgramReport(program))
                links.append(try BPFLink.attach(program, to: cgroup, type))
            }
        }

        /// Attaches the programs that say who a socket's owner is, the best the kernel takes.
        mutating func attachOwners(_ wanted: OwnerMethod?) throws(KernelError) -> OwnerMethod {
            if wanted != .realUser {
                let before = self
                do throws(KernelError) {
                    try attach(NodePrograms.exactOwner)
                    return .credentials
                } catch {
                    // Some of its programs may act already; they go with their links.
                    self = before
                    guard wanted == nil, error.saysNoExactOwner else { throw error }
                }
            }
            try attach(NodePrograms.basicOwner)
            return .realUser
        }
    }

    private struct Part: Sendable {
        let object: swerve_object_name
        let name: String
        /// Whether it is told what the kernel can do.
        var asksAbilities = true
        let programs: [(String, BPFAttachType)]
    }

    private static let readers = [
        Part(
            object: SWERVE_OBJECT_GETSOCKOPT, name: "getsockopt", asksAbilities: false,
            programs: [("swerve_getsockopt", .getsockopt)]),
        Part(
            object: SWERVE_OBJECT_SOCKOPS, name: "sockops", asksAbilities: false,
            programs: [("swerve_sockops", .sockOps)]),
        Part(
            object: SWERVE_OBJECT_PEERNAME, name: "peername",
            programs: [
                ("swerve_getpeername4", .getpeername4), ("swerve_getpeername6", .getpeername6),
            ]),
    ]

    private static let exactOwner = Part(
        object: SWERVE_OBJECT_OWNER, name: "owner",
        programs: [
            ("swerve_adopt_connect4", .connect4), ("swerve_adopt_connect6", .connect6),
            ("swerve_adopt_sendmsg4", .sendmsg4), ("swerve_adopt_sendmsg6", .sendmsg6),
            ("swerve_sock_create", .socketCreate),
        ])
    private static let basicOwner = Part(
        object: SWERVE_OBJECT_OWNER_BASIC, name: "owner_basic",
        programs: [("swerve_sock_create", .socketCreate)])

    /// Loads the programs that go by credentials, and lets them go again.
    static func probeExactOwner() -> BPFProbe.Answer {
        var maps: [String: BPFMap] = [:]
        do throws(KernelError) {
            _ = try load(exactOwner.object, name: exactOwner.name, sharing: &maps)
            return .yes
        } catch {
            return error.saysNoExactOwner ? .no(error.description) : .unknown(error)
        }
    }

    private static let deciders = [
        Part(
            object: SWERVE_OBJECT_DNS, name: "dns",
            programs: [
                ("swerve_recvmsg4", .recvmsg4), ("swerve_recvmsg6", .recvmsg6),
                ("swerve_sendmsg4", .sendmsg4), ("swerve_sendmsg6", .sendmsg6),
            ]),
        Part(
            object: SWERVE_OBJECT_CONNECT, name: "connect",
            programs: [("swerve_connect4", .connect4), ("swerve_connect6", .connect6)]),
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
    fileprivate static func load(
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

/// How it is found out who a socket's owner is.
package enum OwnerMethod: String, Hashable, Sendable, Codable, CaseIterable {
    /// By the credentials its file was opened with, as the packet filters have it: Linux 6.2, BTF.
    case credentials
    /// By the real user and group of who called socket(2), and for a socket that is older than the
    /// programs, of who connects.
    case realUser
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

extension KernelError {
    /// Conclusive: no BTF, no such function, or a verifier or a hook that does not know it.
    ///
    /// libbpf says the first two by `ESRCH` and `ENOENT`; 524 is the kernel's own `ENOTSUPP`.
    fileprivate var saysNoExactOwner: Bool {
        let conclusive: [Errno] = [
            .noSuchProcess, .noSuchFileOrDirectory, .permissionDenied, .invalidArgument,
            .notSupported, Errno(rawValue: 524),
        ]
        return conclusive.contains(errno)
    }
}

private func missing(_ name: String) -> KernelError {
    KernelError("find \(name) in the BPF objects", .noSuchFileOrDirectory)
}
