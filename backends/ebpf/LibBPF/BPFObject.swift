// SPDX-License-Identifier: Apache-2.0

internal import CLibBPF
package import LinuxKernel
internal import SystemPackage

/// An object file of BPF programs and maps: opened, adjusted, then loaded and verified.
///
/// Handles taken out of an object own their own descriptors, so they may outlive it.
///
/// libbpf objects are not thread-safe, so this type is not `Sendable`.
@safe
package struct BPFObject: ~Copyable {
    private let object: OpaquePointer
    private let name: String
    /// A log for each program, so that the one that is not empty names the culprit.
    private var logs = Logs()

    /// Takes over an open object; everything that can fail comes after this.
    private init(owning object: OpaquePointer, name: String) {
        unsafe self.object = object
        self.name = name
    }

    deinit { unsafe bpf_object__close(object) }

    /// Opens the object file in `bytes`; nothing reaches the kernel yet.
    package static func open(
        _ bytes: UnsafeRawBufferPointer, name: String
    ) throws(KernelError) -> BPFObject {
        Library.prepare()
        guard let start = bytes.baseAddress else {
            throw KernelError("bpf_object__open(\(name))", .invalidArgument, detail: "no bytes")
        }
        var opened: OpaquePointer?
        try kernel("bpf_object__open(\(name))") {
            unsafe clibbpf_open(start, bytes.count, name, &opened)
        }
        guard let opened = unsafe opened else { preconditionFailure("no object, no error") }
        return unsafe BPFObject(owning: opened, name: name)
    }

    // MARK: Before loading

    /// Sets what a data section (`.rodata`) holds when the programs first run.
    ///
    /// `value` is the whole section, in the order of the C file.
    package func setInitialValue<Value: BitwiseCopyable>(
        ofSection section: String, to value: Value
    ) throws(KernelError) {
        let map = try unsafe find(section) { unsafe isSection($0, section) }
        try kernel("bpf_map__set_initial_value(\(section))") {
            unsafe withUnsafeBytes(of: value) { bytes in
                unsafe bpf_map__set_initial_value(map, bytes.baseAddress, bytes.count)
            }
        }
    }

    /// Leaves `program` out, so that a kernel without its type can load the rest.
    package func disable(program: String) throws(KernelError) {
        let found = try unsafe findProgram(program)
        try kernel("bpf_program__set_autoload(\(program))") {
            unsafe bpf_program__set_autoload(found, false)
        }
    }

    /// Makes the programs use `other` in place of the object's own map; false if it has none.
    ///
    /// From then on the object calls the map by the name `other` was made with.
    @discardableResult
    package func reuse(mapNamed name: String, _ other: BPFMap) throws(KernelError) -> Bool {
        guard let map = unsafe bpf_object__find_map_by_name(object, name) else { return false }
        try kernel("bpf_map__reuse_fd(\(name))") {
            unsafe bpf_map__reuse_fd(map, other.rawDescriptor)
        }
        return true
    }

    /// Whether the object's own map would be made like `other`; false if it has none.
    package func declares(mapNamed name: String, like other: BPFMap) -> Bool {
        guard let map = unsafe bpf_object__find_map_by_name(object, name) else { return false }
        return unsafe bpf_map__type(map) == other.type.raw
            && bpf_map__key_size(map) == other.keySize
            && bpf_map__value_size(map) == other.valueSize
            && bpf_map__max_entries(map) == other.maxEntries
            && bpf_map__map_flags(map) == other.flags
    }

    /// Sets how many entries the map can hold.
    package func setMaxEntries(_ count: UInt32, ofMap name: String) throws(KernelError) {
        let map = try unsafe find(name) { unsafe String(cString: bpf_map__name($0)) == name }
        try kernel("bpf_map__set_max_entries(\(name))") {
            unsafe bpf_map__set_max_entries(map, count)
        }
    }

    // MARK: Loading

    /// Makes the maps and hands the programs to the verifier.
    package mutating func load() throws(KernelError) {
        try prepareLogs()
        let result = unsafe bpf_object__load(object)
        guard result >= 0 else {
            throw KernelError(
                "bpf_object__load(\(name))", Errno(rawValue: -result), detail: logs.lastWords)
        }
        logs = Logs()
    }

    /// Level 0 costs nothing while all goes well: libbpf asks again for a log after a failure.
    private mutating func prepareLogs() throws(KernelError) {
        for index in unsafe programs.indices {
            let program = unsafe programs[index]
            let name = unsafe String(cString: bpf_program__name(program))
            let log = LogBuffer()
            try kernel("bpf_program__set_log_buf(\(name))") {
                unsafe bpf_program__set_log_buf(program, log.start, LogBuffer.size)
            }
            logs.append(name, log)
        }
    }

    // MARK: After loading

    /// The names of the programs that are not disabled.
    package var programNames: [String] {
        unsafe programs.filter { unsafe bpf_program__autoload($0) }
            .map { unsafe String(cString: bpf_program__name($0)) }
    }

    /// The names of the maps in the C file, data sections left out.
    package var mapNames: [String] {
        unsafe maps.filter { unsafe !bpf_map__is_internal($0) }
            .map { unsafe String(cString: bpf_map__name($0)) }
    }

    /// Returns the loaded program of that name in the C file.
    package func program(named name: String) throws(KernelError) -> BPFProgram {
        let found = try unsafe findProgram(name)
        let borrowed = try kernel("bpf_program__fd(\(name))") { unsafe bpf_program__fd(found) }
        return try BPFProgram(taking: OwnedDescriptor(duplicating: borrowed), name: name)
    }

    /// Returns the map of that name in the C file.
    package func map(named name: String) throws(KernelError) -> BPFMap {
        let found = try unsafe find(name) { unsafe String(cString: bpf_map__name($0)) == name }
        let borrowed = try kernel("bpf_map__fd(\(name))") { unsafe bpf_map__fd(found) }
        return try BPFMap(taking: OwnedDescriptor(duplicating: borrowed), name: name)
    }
}

extension BPFObject {
    var programs: [OpaquePointer] {
        var all: [OpaquePointer] = unsafe []
        while let next = unsafe bpf_object__next_program(object, all.last) {
            unsafe all.append(next)
        }
        return unsafe all
    }

    var maps: [OpaquePointer] {
        var all: [OpaquePointer] = unsafe []
        while let next = unsafe bpf_object__next_map(object, all.last) {
            unsafe all.append(next)
        }
        return unsafe all
    }

    private func findProgram(_ name: String) throws(KernelError) -> OpaquePointer {
        guard let program = unsafe bpf_object__find_program_by_name(object, name) else {
            throw KernelError("find program \(name)", .noSuchFileOrDirectory, detail: self.name)
        }
        return unsafe program
    }

    private func find(
        _ name: String, where matches: (OpaquePointer) -> Bool
    ) throws(KernelError) -> OpaquePointer {
        guard let map = unsafe maps.first(where: matches) else {
            throw KernelError("find map \(name)", .noSuchFileOrDirectory, detail: self.name)
        }
        return unsafe map
    }

    /// A section's map is called after the object, cut to the kernel's 15 letters: `cgroup.rodata`.
    private func isSection(_ map: OpaquePointer, _ section: String) -> Bool {
        unsafe bpf_map__is_internal(map)
            && String(cString: bpf_map__name(map)).hasSuffix(section)
    }
}

/// The verifier's log of each program of an object.
private final class Logs {
    private final class Entry {
        let program: String
        let buffer: LogBuffer
        init(_ program: String, _ buffer: consuming LogBuffer) {
            self.program = program
            self.buffer = buffer
        }
    }

    private var entries: [Entry] = []

    func append(_ program: String, _ buffer: consuming LogBuffer) {
        entries.append(Entry(program, buffer))
    }

    /// The program the verifier refused, and its reason.
    var lastWords: String? {
        for entry in entries.reversed() {
            guard let words = VerifierLog.lastWords(entry.buffer.text) else { continue }
            return "\(entry.program): \(words)"
        }
        return nil
    }
}
