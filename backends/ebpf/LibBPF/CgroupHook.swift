// SPDX-License-Identifier: Apache-2.0

internal import CLibBPF
package import LinuxKernel
internal import SystemPackage

/// What is attached at one hook of one cgroup, whoever attached it.
package struct CgroupHook: Hashable, Sendable {
    /// What the programs there let others do.
    package enum Sharing: Hashable, Sendable {
        /// Any number of programs, here and below (`BPF_F_ALLOW_MULTI`, links).
        case multiple
        /// One here, in whose place a cgroup below may have its own (`BPF_F_ALLOW_OVERRIDE`).
        case overridable
        /// One here, and none below.
        case exclusive
    }

    package struct Program: Hashable, Sendable {
        package let id: UInt32
        /// The kernel's 15 letters of it.
        package let name: String
    }

    package let cgroup: Cgroup
    package let type: BPFAttachType
    package let sharing: Sharing
    /// In the order they run.
    package let programs: [Program]

    /// Asks the kernel; `nil` when it does not know the hook, or nothing is attached.
    package static func query(
        _ cgroup: Cgroup, _ type: BPFAttachType
    ) throws(KernelError) -> CgroupHook? {
        let target = try cgroup.open()
        let found = try HookPrograms.query(target.rawValue, type, at: cgroup.path)
        guard !found.ids.isEmpty else { return nil }
        let programs = found.ids.map { id in
            // It may have gone since; then its number is all there is.
            Program(id: id, name: (try? BPFProgram.name(ofID: id)) ?? "")
        }
        let flags = found.flags
        let sharing: Sharing =
            flags & UInt32(BPF_F_ALLOW_MULTI) != 0
            ? .multiple : flags & UInt32(BPF_F_ALLOW_OVERRIDE) != 0 ? .overridable : .exclusive
        return CgroupHook(cgroup: cgroup, type: type, sharing: sharing, programs: programs)
    }
}

extension CgroupHook.Program: CustomStringConvertible {
    package var description: String {
        "program \(name.isEmpty ? "without a name" : name) (id \(id))"
    }
}

extension BPFProgram {
    fileprivate static func name(ofID id: UInt32) throws(KernelError) -> String {
        let program = OwnedDescriptor(
            taking: try kernel("bpf_prog_get_fd_by_id(\(id))") { bpf_prog_get_fd_by_id(id) })
        var info = bpf_prog_info()
        var size = UInt32(MemoryLayout<bpf_prog_info>.size)
        try kernel("bpf_obj_get_info_by_fd(\(id))") {
            unsafe bpf_obj_get_info_by_fd(program.rawValue, &info, &size)
        }
        return unsafe withUnsafeBytes(of: info.name) { bytes in
            unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }
}
