// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims
package import LinuxKernel
package import RedirectionModel

/// Runs `body` as `owner`, on this thread alone; what it opens belongs to that user and group.
package func asOwner<Value: ~Copyable>(
    _ owner: Owner, _ body: () throws(KernelError) -> Value
) throws(KernelError) -> Value {
    try kernel("setresuid(\(owner.uid))") { clinux_assume_owner(owner.uid, owner.gid) }
    defer {
        let status = clinux_assume_owner(0, 0)
        precondition(status == 0, "cannot become root again: errno \(-status)")
    }
    return try body()
}

/// Runs `body` with the filesystem user and group of `owner`, which are what a socket's owner is;
/// the real and effective ones stay root's, as in a set-user-ID program they stay its caller's.
package func withFilesystemOwner<Value: ~Copyable>(
    _ owner: Owner, _ body: () throws(KernelError) -> Value
) throws(KernelError) -> Value {
    try kernel("setfsuid(\(owner.uid))") {
        clinux_assume_filesystem_owner(owner.uid, owner.gid)
    }
    defer {
        let status = clinux_assume_filesystem_owner(0, 0)
        precondition(status == 0, "cannot become root again: errno \(-status)")
    }
    return try body()
}

extension Owner {
    package static let root = Owner(uid: 0, gid: 0)
    /// Somebody the presets do not know.
    package static let application = Owner(uid: 10_001, gid: 10_001)
    /// The sidecar of the fsm preset.
    package static let sidecar = Owner(uid: 1500, gid: 1500)
}
