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
        // The kernel takes no more than 64 programs a cgroup and hook (BPF_CGROUP_MAX_PROGS).
        var ids = [UInt32](repeating: 0, count: 64)
        var count = UInt32(ids.count)
        var flags: UInt32 = 0
        do throws(KernelError) {
            try kernel("bpf(BPF_PROG_QUERY, \(cgroup.path))") {
                unsafe bpf_prog_query(target.rawValue, type.raw, 0, &flags, &ids, &count)
            }
        } catch  where error.errno == .invalidArgument { return nil }
        guard count > 0 else { return nil }
        let programs = ids.prefix(Int(count)).map { id in
            // It may have gone since; then its number is all there is.
            Program(id: id, name: (try? BPFProgram.name(ofID: id)) ?? "")
        }
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
