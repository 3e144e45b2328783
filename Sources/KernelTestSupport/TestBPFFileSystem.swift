// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel
internal import SystemPackage

#if canImport(Glibc)
internal import Glibc
#endif

/// A bpf filesystem that is mounted nowhere: it is reached through a descriptor, and gone with it.
package final class TestBPFFileSystem: Sendable {
    private let mount: OwnedDescriptor

    /// The directory at its top, for this process.
    package var path: String { "/proc/self/fd/\(mount.rawValue)" }

    /// The same for processes that this one starts, while it runs.
    package var sharedPath: String { "/proc/\(getpid())/fd/\(mount.rawValue)" }

    /// Makes one: fsopen(2), fsmount(2), Linux 5.2.
    package init() throws(KernelError) {
        let context = OwnedDescriptor(
            taking: try kernel("fsopen(bpf)") { unsafe fsopen("bpf", UInt32(FSOPEN_CLOEXEC)) })
        let number = context.rawValue
        try kernel("fsconfig(FSCONFIG_CMD_CREATE)") {
            fsconfig(number, FSCONFIG_CMD_CREATE.rawValue, nil, nil, 0)
        }
        mount = OwnedDescriptor(
            taking: try kernel("fsmount") { fsmount(number, UInt32(FSMOUNT_CLOEXEC), 0) })
    }

    /// The names of what is in a directory of it, and what is in those.
    package func tree(_ directory: String = "") -> [String] {
        Directory(path: path + directory).names().flatMap { name in
            ["\(directory)/\(name)"] + tree("\(directory)/\(name)")
        }
    }
}
