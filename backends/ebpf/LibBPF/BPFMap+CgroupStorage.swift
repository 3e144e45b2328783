// SPDX-License-Identifier: Apache-2.0

internal import CLibBPF
package import LinuxKernel

/// What the kernel keeps beside each attachment of a program to a cgroup (cgroup-local storage).
///
/// It is made by the attachment, so there is nothing to read or write before.
extension BPFMap {
    /// Returns what is beside the attachment to the cgroup `id`; `nil` where there is none.
    package func attached<Value: BitwiseCopyable>(
        to id: UInt64, _ type: BPFAttachType, as _: Value.Type = Value.self
    ) throws(KernelError) -> Value? {
        try lookup(bpf_cgroup_storage_key(cgroup_inode_id: id, attach_type: type.value))
    }

    /// Writes what the program will find, running by its attachment to the cgroup `id`.
    package func setAttached<Value: BitwiseCopyable>(
        to id: UInt64, _ type: BPFAttachType, _ value: Value
    ) throws(KernelError) {
        let key = bpf_cgroup_storage_key(cgroup_inode_id: id, attach_type: type.value)
        try update(key, value)
    }
}
