// SPDX-License-Identifier: Apache-2.0

internal import CLibBPF
package import LinuxKernel

/// How often a program has run and how long that took, as far as the kernel has counted.
package struct BPFRunStatistics: Hashable, Sendable {
    package let runs: UInt64
    package let nanoseconds: UInt64

    /// Makes the kernel count, for all programs of the machine, until the descriptor is closed (5.8).
    ///
    /// Two looks at the clock a run are part of what is then measured.
    package static func enable() throws(KernelError) -> OwnedDescriptor {
        let number = try kernel("bpf(BPF_ENABLE_STATS)") { bpf_enable_stats(BPF_STATS_RUN_TIME) }
        return OwnedDescriptor(taking: number)
    }
}

extension BPFProgram {
    /// Since it was loaded, while counting was on.
    package func runStatistics() throws(KernelError) -> BPFRunStatistics {
        var info = bpf_prog_info()
        var size = UInt32(MemoryLayout<bpf_prog_info>.size)
        try kernel("bpf_obj_get_info_by_fd(\(name))") {
            unsafe bpf_obj_get_info_by_fd(rawDescriptor, &info, &size)
        }
        return BPFRunStatistics(runs: info.run_cnt, nanoseconds: info.run_time_ns)
    }
}
