// SPDX-License-Identifier: Apache-2.0

internal import CLibBPF
package import LinuxKernel
internal import SystemPackage

extension BPFMap {
    /// Opens the maps of each program that acts on `cgroup` as `type`, whoever attached it, there
    /// or above: bpf(2), BPF_PROG_QUERY with BPF_F_QUERY_EFFECTIVE.
    ///
    /// A map's name is cut to the kernel's 15 bytes.
    package static func maps(
        ofProgramsOn cgroup: Cgroup, _ type: BPFAttachType
    ) throws(KernelError) -> [[BPFMap]] {
        try programs(on: cgroup, type).map { program throws(KernelError) in
            try mapIDs(ofProgram: program).map { id throws(KernelError) in try BPFMap.open(id: id) }
        }
    }

    private static func programs(
        on cgroup: Cgroup, _ type: BPFAttachType
    ) throws(KernelError) -> [UInt32] {
        let directory = try cgroup.open()
        return try HookPrograms.query(
            directory.rawValue, type, at: cgroup.path, effective: true
        ).ids
    }

    /// The maps that a program uses.
    package static func mapIDs(ofProgram id: UInt32) throws(KernelError) -> [UInt32] {
        let program = OwnedDescriptor(
            taking: try kernel("bpf(BPF_PROG_GET_FD_BY_ID)") { bpf_prog_get_fd_by_id(id) })
        var ids = [UInt32](repeating: 0, count: 64)
        var info = bpf_prog_info()
        var size = UInt32(MemoryLayout<bpf_prog_info>.size)
        info.nr_map_ids = UInt32(ids.count)
        try kernel("bpf_obj_get_info_by_fd") {
            unsafe ids.withUnsafeMutableBufferPointer { buffer in
                info.map_ids = UInt64(UInt(bitPattern: buffer.baseAddress))
                return unsafe bpf_obj_get_info_by_fd(program.rawValue, &info, &size)
            }
        }
        return Array(ids.prefix(Int(info.nr_map_ids)))
    }
}
