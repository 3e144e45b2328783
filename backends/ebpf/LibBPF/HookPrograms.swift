// SPDX-License-Identifier: Apache-2.0

internal import CLibBPF
internal import LinuxKernel
internal import SystemPackage

/// The programs at one hook, of a cgroup or a network namespace: bpf(2), BPF_PROG_QUERY.
struct HookPrograms: Hashable, Sendable {
    /// In the order they run.
    var ids: [UInt32] = []
    /// How they were attached (`BPF_F_ALLOW_MULTI` and others).
    var flags: UInt32 = 0

    /// Asks the kernel; `effective` counts what is attached above as well.
    static func query(
        _ target: CInt, _ type: BPFAttachType, at place: String, effective: Bool = false
    ) throws(KernelError) -> HookPrograms {
        try read("bpf(BPF_PROG_QUERY, \(place))") { (found, count) in
            unsafe bpf_prog_query(
                target, type.raw, effective ? UInt32(BPF_F_QUERY_EFFECTIVE) : 0, &found.flags,
                &found.ids, &count)
        }
    }

    /// What an answer means; a kernel that does not know the hook, or has no bpf(2), has nothing there.
    static func read(
        _ call: String, _ ask: (inout HookPrograms, inout UInt32) -> CInt
    ) throws(KernelError) -> HookPrograms {
        // The kernel takes no more than 64 programs a cgroup and hook (BPF_CGROUP_MAX_PROGS).
        var found = HookPrograms(ids: [UInt32](repeating: 0, count: 64))
        var count = UInt32(found.ids.count)
        do throws(KernelError) {
            try kernel(call) { ask(&found, &count) }
        } catch  where error.errno == .invalidArgument || error.errno == .noFunction {
            return HookPrograms()
        }
        found.ids.removeLast(found.ids.count - Int(count))
        return found
    }
}
