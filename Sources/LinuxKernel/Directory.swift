// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims
internal import FoundationEssentials
internal import SystemPackage

#if canImport(Glibc)
internal import Glibc
#endif

/// A directory that only root reads, for files that are there whole or not at all.
package struct Directory: Hashable, Sendable {
    package let path: String

    package init(path: String) { self.path = path }

    package func child(_ name: String) -> Directory { Directory(path: path + "/" + name) }

    /// Makes it, and those above it; it is not an error if it is there.
    package func create() throws(KernelError) {
        let parent = path.split(separator: "/").dropLast().joined(separator: "/")
        do throws(KernelError) {
            try kernel("mkdir(\(path))") { unsafe clinux_mkdir(path, 0o700) }
        } catch  where error.errno == .fileExists {
        } catch  where error.errno == .noSuchFileOrDirectory && !parent.isEmpty {
            try Directory(path: (path.hasPrefix("/") ? "/" : "") + parent).create()
            try kernel("mkdir(\(path))") { unsafe clinux_mkdir(path, 0o700) }
        }
    }

    /// The names of what is in it, in order; nothing when it is not there.
    ///
    /// That it cannot be read is another thing than that it is empty.
    package func contents() throws(KernelError) -> [String] {
        do {
            return try FileManager.default.contentsOfDirectory(atPath: path).sorted()
        } catch {
            let reason = (error as? CocoaError)?.underlying as? POSIXError
            let errno = reason.map { Errno(rawValue: $0.code.rawValue) } ?? .ioError
            if errno == .noSuchFileOrDirectory { return [] }
            throw KernelError("opendir(\(path))", errno, detail: reason == nil ? "\(error)" : nil)
        }
    }

    /// The same for who needs no more than what can be seen.
    package func names() -> [String] { (try? contents()) ?? [] }

    /// The text of a file, `nil` when there is none.
    package func read(_ name: String) throws(KernelError) -> String? {
        do throws(KernelError) {
            return try readFile(path + "/" + name)
        } catch  where error.errno == .noSuchFileOrDirectory {
            return nil
        }
    }

    /// Tells a file from what it was before, and from whatever else has its name: its number, size
    /// and last change, of stat(2).
    package struct FileVersion: Hashable, Sendable {
        private let inode: UInt64
        private let seconds, nanoseconds, bytes: Int64

        fileprivate init(_ version: clinux_file_version) {
            inode = version.inode
            (seconds, nanoseconds) = (version.seconds, version.nanoseconds)
            bytes = version.bytes
        }
    }

    /// The version of a file, `nil` when there is none.
    package func version(of name: String) throws(KernelError) -> FileVersion? {
        let file = path + "/" + name
        var version = clinux_file_version()
        do throws(KernelError) {
            try kernel("stat(\(file))") { unsafe clinux_file_version(file, &version) }
        } catch  where error.errno == .noSuchFileOrDirectory {
            return nil
        }
        return FileVersion(version)
    }

    /// Ends the name of a file that is being written.
    package static let unfinished = ".new"

    /// Writes a file: whoever reads it finds what was there before, or all of `text`.
    ///
    /// Nothing is synced to a disk: what the files tell of is gone with the kernel, too.
    package func replace(_ name: String, with text: String) throws(KernelError) {
        let file = path + "/" + name
        let aside = file + Self.unfinished
        try OwnedDescriptor.open(aside, .replace, mode: 0o600).write(text)
        try kernel("rename(\(aside), \(file))") { unsafe clinux_rename(aside, file) }
    }

    /// Removes a file; it is not an error if it is gone.
    package func remove(_ name: String) throws(KernelError) {
        do throws(KernelError) {
            try kernel("unlink(\(path)/\(name))") { unsafe clinux_unlink(path + "/" + name) }
        } catch  where error.errno == .noSuchFileOrDirectory {}
    }

    /// Removes the directory if it is empty.
    package func removeIfEmpty() throws(KernelError) {
        do throws(KernelError) {
            try kernel("rmdir(\(path))") { unsafe clinux_rmdir(path) }
        } catch  where error.errno == .noSuchFileOrDirectory || error.errno == .directoryNotEmpty {}
    }
}
