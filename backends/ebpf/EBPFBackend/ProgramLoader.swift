// SPDX-License-Identifier: Apache-2.0

internal import CBPFObjects
internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
internal import SystemPackage

/// Loads one object after the other; they share the maps, each of which is made once.
struct ProgramLoader: Sendable {
    /// The maps there are, by their names in the C files.
    private(set) var maps: [String: BPFMap] = [:]
    /// Maps of an earlier process, used where the objects would make the same.
    private let candidates: [String: BPFMap]
    private let abilities: swerve_abilities
    /// Whether all maps are another process's, of this very build.
    private(set) var isAdopting = false

    init(sharing candidates: [String: BPFMap] = [:]) {
        self.candidates = candidates
        abilities = swerve_abilities(
            has_set_retval: BPFProbe.helper(.setReturnValue, in: .cgroupSocketAddress, .connect4)
                == .yes ? 1 : 0)
    }

    /// Over the maps of an earlier process, which are whole and this build's own.
    init(adopting maps: [String: BPFMap]) {
        self.init(sharing: maps)
        self.maps = maps
        isAdopting = true
    }

    /// Loads the part's programs, attached to nothing yet.
    mutating func load(_ part: ProgramPart) throws(KernelError) -> LoadedPrograms {
        let abilities = abilities
        return try load(part.object, name: part.name) { (object) throws(KernelError) in
            guard part.asksAbilities else { return }
            try object.setInitialValue(ofSection: ".rodata.abilities", to: abilities)
        }
    }

    /// Loads a pod's own copy of a small object, over the node's maps.
    ///
    /// `data` is the whole of its `.rodata`, in the order of the C file.
    func loadForPod<ReadOnlyData: BitwiseCopyable>(
        _ object: swerve_object_name, name: String, data: ReadOnlyData
    ) throws(KernelError) -> LoadedPrograms {
        var copy = self
        return try copy.load(object, name: name) { (object) throws(KernelError) in
            try object.setInitialValue(ofSection: ".rodata", to: data)
        }
    }

    /// The program that takes a pod's inbound connections at socket lookup.
    func socketLookup(of pod: UInt64) throws(KernelError) -> BPFProgram {
        try loadForPod(SWERVE_OBJECT_SK_LOOKUP, name: "sk_lookup", data: pod)
            .program("swerve_sk_lookup")
    }

    private mutating func load(
        _ name: swerve_object_name, name text: String,
        preparing prepare: (borrowing BPFObject) throws(KernelError) -> Void
    ) throws(KernelError) -> LoadedPrograms {
        let bytes = unsafe swerve_object(name)
        let file = unsafe UnsafeRawBufferPointer(start: bytes.start, count: bytes.size)
        var object = try unsafe BPFObject.open(file, name: text)
        try prepare(object)
        let names = object.mapNames
        for name in names {
            if maps[name] == nil, let map = candidates[name],
                object.declares(mapNamed: name, like: map)
            {
                maps[name] = map
            }
            guard let map = maps[name] else { continue }
            try object.reuse(mapNamed: name, map)
        }
        try object.load()
        for name in names where maps[name] == nil { maps[name] = try object.map(named: name) }
        return try LoadedPrograms(object)
    }

    /// The map of that name; all objects together must have declared it.
    func map(_ name: String) throws(KernelError) -> BPFMap {
        guard let map = maps[name] else { throw missing(name) }
        return map
    }
}

/// The programs of an object, by name.
struct LoadedPrograms: Sendable {
    private let programs: [String: BPFProgram]

    init(_ object: borrowing BPFObject) throws(KernelError) {
        var programs: [String: BPFProgram] = [:]
        for name in object.programNames { programs[name] = try object.program(named: name) }
        self.programs = programs
    }

    func program(_ name: String) throws(KernelError) -> BPFProgram {
        guard let program = programs[name] else { throw missing(name) }
        return program
    }
}

private func missing(_ name: String) -> KernelError {
    KernelError("find \(name) in the BPF objects", .noSuchFileOrDirectory)
}

/// How it is found out who a socket's owner is.
package enum OwnerMethod: String, Hashable, Sendable, Codable, CaseIterable {
    /// By the credentials its file was opened with, as the packet filters have it: Linux 6.2, BTF.
    case credentials
    /// By the real user and group of who called socket(2), and for a socket that is older than the
    /// programs, of who connects.
    case realUser
    /// By the real user and group of who connects: where nothing can be kept of a socket that is
    /// being made, before Linux 5.9.
    case connectingUser
}

extension ProgramLoader {
    /// Loads the programs that go by credentials, as a node does, and lets them go again.
    static func probeExactOwner() -> BPFProbe.Answer {
        var loader = ProgramLoader()
        do throws(KernelError) {
            for part in ProgramPart.typedAll { _ = try loader.load(part) }
            return .yes
        } catch {
            return error.saysNoTypes ? .no(error.description) : .unknown(error)
        }
    }
}

extension KernelError {
    /// Conclusive: no BTF, no such function, or a verifier or a hook that does not know it.
    ///
    /// libbpf says the first two by `ESRCH` and `ENOENT`; 524 is the kernel's own `ENOTSUPP`.
    var saysNoTypes: Bool {
        let conclusive: [Errno] = [
            .noSuchProcess, .noSuchFileOrDirectory, .permissionDenied, .invalidArgument,
            .notSupported, Errno(rawValue: 524),
        ]
        return conclusive.contains(errno)
    }
}
