// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims

#if canImport(Glibc)
internal import Glibc
#endif

/// A file that is there whole or not at all, readable by its owner alone.
package struct SmallFile {
    private let directory: String
    private let name: String

    package init(_ name: String, in directory: String) {
        self.directory = directory
        self.name = name
    }

    private var path: String { directory + "/" + name }

    /// Writes it, its directory and the one above included if they are missing.
    package func write(_ text: String) throws(SystemFailure) {
        let parent = String(directory[..<(directory.lastIndex(of: "/") ?? directory.startIndex)])
        try makeDirectory(parent)
        try makeDirectory(directory)
        let aside = directory + "/." + name
        try fill(aside, text)
        try system("rename(\(path))") { unsafe clinux_rename(aside, path) }
    }

    /// Gives it another name in its directory, if it is there.
    package func rename(to other: String) throws(SystemFailure) {
        let result = unsafe clinux_rename(path, directory + "/" + other)
        if result != -ENOENT, result != -ENOTDIR { try system("rename(\(path))") { result } }
    }

    private func makeDirectory(_ path: String) throws(SystemFailure) {
        let result = unsafe clinux_mkdir(path, 0o700)
        if result != -EEXIST { try system("mkdir(\(path))") { result } }
    }

    private func fill(_ path: String, _ text: String) throws(SystemFailure) {
        let flags = O_WRONLY | O_CREAT | O_TRUNC
        let file = try system("open(\(path))") { unsafe clinux_open(path, flags, 0o600) }
        defer { _ = clinux_close(file) }
        try writeAll(text, to: file, path)
    }
}
