// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims

/// Wakes its owner when a file has been written to, or something in a directory, inotify(7).
package struct FileWatch: ~Copyable, Sendable {
    private let descriptor: OwnedDescriptor

    package static func open(_ path: String) throws(KernelError) -> FileWatch {
        FileWatch(
            descriptor: OwnedDescriptor(
                taking: try kernel("inotify_add_watch(\(path))") {
                    unsafe clinux_watch_file(path)
                }))
    }

    /// Watches a directory: for files that have been written and closed, come, gone or been renamed.
    package static func open(directory: String) throws(KernelError) -> FileWatch {
        FileWatch(
            descriptor: OwnedDescriptor(
                taking: try kernel("inotify_add_watch(\(directory))") {
                    unsafe clinux_watch_directory(directory)
                }))
    }

    /// Waits for a write since the last call; false when `limit` passes first.
    package func waitForChange(_ limit: Duration) throws(KernelError) -> Bool {
        guard try descriptor.waitForInput(limit) else { return false }
        _ = try descriptor.read(upTo: 4096)
        return true
    }
}
