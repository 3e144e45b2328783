// SPDX-License-Identifier: Apache-2.0

/// Which mounts a process sees, mount_namespaces(7).
package enum MountNamespace {
    /// Whether ours is that of the first process: what is mounted here outlives us.
    ///
    /// In a container with the machine's processes that is the machine's first one. Who may not look
    /// at it is not taken for the machine's.
    package static func isMachines() -> Bool {
        guard let own = try? OwnedDescriptor.open("/proc/thread-self/ns/mnt").inode(),
            let first = try? OwnedDescriptor.open("/proc/1/ns/mnt").inode()
        else { return false }
        return own == first
    }
}
