// SPDX-License-Identifier: Apache-2.0

internal import CBPFObjects
internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
internal import RedirectionEngine
internal import SystemPackage

/// Where a node's programs and maps are pinned, so that they outlive the process (ADR 0016).
package struct BPFPins: Hashable, Sendable {
    /// A directory in bpffs, `/sys/fs/bpf/swerve`, where each version of the ABI has its own.
    package let directory: String
    /// The version of every byte that programs and user space share.
    package let version: UInt32
    /// Which programs these are: two builds with one ABI may take each other's place.
    package let build: UInt64

    /// `version` and `build` are this program's own where tests do not say otherwise.
    package init(in directory: String, version: UInt32? = nil, build: UInt64? = nil) {
        self.directory = directory
        self.version = version ?? UInt32(SWERVE_ABI_VERSION)
        self.build = build ?? Self.ownBuild
    }

    private static let ownBuild = swerve_objects_tag()

    /// How the name of a directory begins whose pins are not whole; no dot, for bpffs refuses those.
    fileprivate static let unfinished = "building-"

    /// The version whose pins a directory of this name holds; `nil` for anything else.
    fileprivate static func version(of name: String) -> UInt32? {
        guard name.hasPrefix("v"), let version = UInt32(name.dropFirst()), name == "v\(version)"
        else { return nil }
        return version
    }

    fileprivate static func isUnfinished(_ name: String) -> Bool {
        name.hasPrefix(unfinished) && version(of: String(name.dropFirst(unfinished.count))) != nil
    }

    /// What is ours in a directory of pins: somebody else's may be there as well.
    static func own(in path: String) throws(KernelError) -> [PinDirectory] {
        let directory = Directory(path: path)
        guard directory.exists else { return [] }
        guard try BPFFileSystem.contains(path) else {
            throw KernelError(
                "look for pins in \(path)", .invalidArgument, detail: "it is no bpf filesystem")
        }
        return directory.names().filter { version(of: $0) != nil || isUnfinished($0) }
            .map { PinDirectory(path: path + "/" + $0) }
    }
}

/// A node's pins, which nobody else changes for as long as this is held.
final class PinStore: Sendable {
    let pins: BPFPins
    private let lock: FileLock

    private init(_ pins: BPFPins, lock: FileLock) {
        self.pins = pins
        self.lock = lock
    }

    /// Takes hold of the directory, and clears away what an earlier process has left unfinished.
    ///
    /// Waits a little for another process that is about to end.
    static func open(_ pins: BPFPins) async throws(RedirectionError) -> PinStore {
        let step = "open the pins in \(pins.directory)"
        let directory = Directory(path: pins.directory)
        try during(step) { () throws(KernelError) in try prepare(directory) }
        let lock: FileLock
        do throws(KernelError) {
            lock = try await FileLock.take(pins.directory, .directory, within: .seconds(5))
        } catch {
            throw .kernel(error, during: step)
        }
        let store = PinStore(pins, lock: lock)
        try store.refuseNewer()
        try during(step) { () throws(KernelError) in try store.clearUnfinished() }
        return store
    }

    /// The place where distributions mount a bpf filesystem.
    private static let usualMount = "/sys/fs/bpf"

    private static func prepare(_ directory: Directory) throws(KernelError) {
        let usual = directory.path.hasPrefix(usualMount + "/")
        if usual, try !BPFFileSystem.contains(usualMount) {
            // In a container it would go with the container, and with it all that is pinned.
            guard MountNamespace.isMachines() else {
                throw KernelError(
                    "mount a bpf filesystem on \(usualMount)", .invalidArgument,
                    detail: "from a mount namespace that is not the first process's it would go "
                        + "with that: mount one on the machine, mount -t bpf bpf \(usualMount)")
            }
            ChangeLog.about(to: .pin, "mount a bpf filesystem on \(usualMount)")
            try BPFFileSystem.mount(on: usualMount)
        }
        try directory.create()
        guard try BPFFileSystem.contains(directory.path) else {
            throw KernelError(
                "pin below \(directory.path)", .invalidArgument,
                detail: "it is in no bpf filesystem: mount one, mount -t bpf bpf /sys/fs/bpf")
        }
    }

    // MARK: Versions

    /// Where this version's pins are, once they are whole.
    var current: PinDirectory { PinDirectory(path: "\(pins.directory)/v\(pins.version)") }

    /// Where they are made.
    var unfinished: PinDirectory {
        PinDirectory(path: "\(pins.directory)/\(BPFPins.unfinished)v\(pins.version)")
    }

    private var root: Directory { Directory(path: pins.directory) }

    private var versions: [UInt32] {
        root.names().compactMap(BPFPins.version).sorted()
    }

    /// The newest of the pins that an older program has left, if any.
    var older: PinDirectory? {
        versions.last { $0 < pins.version }.map {
            PinDirectory(path: "\(pins.directory)/v\($0)")
        }
    }

    private func refuseNewer() throws(RedirectionError) {
        guard let newest = versions.last, newest > pins.version else { return }
        throw .newerState(
            "\(pins.directory)/v\(newest)", version: Int(newest), own: Int(pins.version))
    }

    private func clearUnfinished() throws(KernelError) {
        for name in root.names() where BPFPins.isUnfinished(name) {
            ChangeLog.about(to: .pin, "remove \(pins.directory)/\(name)")
            try PinDirectory(path: "\(pins.directory)/\(name)").remove()
        }
    }

    /// What was made aside takes its place, whole.
    func finish() throws(KernelError) {
        ChangeLog.about(to: .pin, "move \(unfinished.path) to \(current.path)")
        try Directory(path: unfinished.path).move(to: current.path)
    }

    /// Removes what older programs have left: nothing needs it any more.
    func removeOlder() throws(KernelError) {
        for version in versions where version < pins.version {
            ChangeLog.about(to: .pin, "remove \(pins.directory)/v\(version)")
            try PinDirectory(path: "\(pins.directory)/v\(version)").remove()
        }
    }
}
