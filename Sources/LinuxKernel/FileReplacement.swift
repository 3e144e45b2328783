// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims
internal import SystemPackage

/// A regular file as it was when it was read.
package struct FileContent: Sendable {
    package let bytes: [UInt8]
    fileprivate let inode: UInt64
    fileprivate let mode: UInt32
    fileprivate let owner: (uid: UInt32, gid: UInt32)

    /// Reads the file at `path`; what is no regular file is `EISDIR`, whatever else it is.
    package static func read(_ path: String) throws(KernelError) -> FileContent {
        let file = try OwnedDescriptor.open(path, .readNow)
        var mode: mode_t = 0
        var owner: (uid: UInt32, gid: UInt32) = (0, 0)
        try kernel("fstat(\(path))") {
            unsafe clinux_file_owner(file.rawValue, &mode, &owner.uid, &owner.gid)
        }
        guard mode & 0o170000 == 0o100000 else { throw KernelError("read(\(path))", .isDirectory) }
        return FileContent(
            bytes: try file.readAll(), inode: try file.inode(), mode: mode & 0o7777, owner: owner)
    }

    /// Whether another file says the same to the same readers.
    package func isSame(as other: FileContent) -> Bool {
        mode == other.mode && owner == other.owner && bytes == other.bytes
    }
}

/// Others' files, changed so that at every instant the old or the new is there, whole.
///
/// Whoever else writes to them loses nothing either: what has been put out of the way is looked at
/// before it goes, and put back if it is not what the change was made from.
package enum FileReplacement {
    /// Puts `bytes` at `path` where `old` has been read; false if it has changed since.
    package static func replace(
        _ path: String, _ old: FileContent, with bytes: [UInt8]
    ) throws(KernelError) -> Bool {
        let aside = aside(path)
        let new = try write(bytes, to: aside, like: old)
        let exchanged = unsafe clinux_exchange(aside, path)
        if exchanged == -Errno.invalidArgument.rawValue {
            return try renameOver(path, old, aside)
        }
        if exchanged == -Errno.noSuchFileOrDirectory.rawValue {
            try remove(aside)
            return false
        }
        try kernel("renameat2(\(path))") { exchanged }
        let displaced = try settled(aside)
        guard displaced.bytes == old.bytes else {
            try giveBack(path, aside, inHand: displaced, inPlace: new)
            return false
        }
        try remove(aside)
        try syncDirectory(of: path)
        return true
    }

    /// Puts a new file at `path`, or over one that is our own.
    package static func create(
        _ path: String, _ bytes: [UInt8], like other: FileContent
    ) throws(KernelError) {
        let aside = aside(path)
        _ = try write(bytes, to: aside, like: other)
        try move(aside, to: path)
    }

    package static func move(_ path: String, to other: String) throws(KernelError) {
        try kernel("rename(\(path))") { unsafe clinux_rename(path, other) }
        try syncDirectory(of: other)
    }

    /// Gives a file its name back, unless there is one of that name by now, which is newer.
    package static func restore(_ path: String, to other: String) throws(KernelError) {
        let result = unsafe clinux_rename_new(path, other)
        if result == -Errno.fileExists.rawValue { return }
        // For filesystems that know no such rename: a look, and what comes after it is lost.
        if result == -Errno.invalidArgument.rawValue {
            if (try? FileContent.read(other)) == nil { try move(path, to: other) }
            return
        }
        try kernel("renameat2(\(path))") { result }
        try syncDirectory(of: other)
    }

    /// Removes a file, if it is there.
    package static func remove(_ path: String) throws(KernelError) {
        let result = unsafe clinux_unlink(path)
        if result == -Errno.noSuchFileOrDirectory.rawValue { return }
        try kernel("unlink(\(path))") { result }
    }

    /// Reads a file when nobody is writing to it any more; one that is held open for long is read as
    /// it is.
    package static func settled(_ path: String) throws(KernelError) -> FileContent {
        let file = try OwnedDescriptor.open(path, .readNow)
        for _ in 0..<200 where clinux_check_unwritten(file.rawValue) == -Errno.wouldBlock.rawValue {
            pause(.milliseconds(10))
        }
        return try FileContent.read(path)
    }

    /// How the hidden files end that a change leaves only if it is interrupted.
    package static let asideSuffix = ".swerve-new"

    /// The hidden file beside `path` that a change goes through.
    package static func aside(_ path: String) -> String {
        let slash = path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex
        return path[..<slash] + "." + path[slash...] + asideSuffix
    }

    /// Writes a file with another's mode and owner, down to the disk.
    private static func write(
        _ bytes: [UInt8], to path: String, like other: FileContent
    ) throws(KernelError) -> FileContent {
        try remove(path)
        let file = try OwnedDescriptor.open(path, .replace, mode: 0o600)
        try file.write(bytes)
        try kernel("fchown(\(path))") {
            clinux_set_owner(file.rawValue, other.owner.uid, other.owner.gid)
        }
        try kernel("fchmod(\(path))") { clinux_set_mode(file.rawValue, mode_t(other.mode)) }
        try kernel("fsync(\(path))") { clinux_sync(file.rawValue) }
        return FileContent(
            bytes: bytes, inode: try file.inode(), mode: other.mode, owner: other.owner)
    }

    /// Returns what somebody else has put at `path` in the meantime, and takes ours back.
    ///
    /// By then another file still may have taken the place of ours, and is newer than what goes back;
    /// so they change places until what comes out is what has been put in.
    private static func giveBack(
        _ path: String, _ aside: String, inHand: FileContent, inPlace: FileContent
    ) throws(KernelError) {
        var inHand = inHand
        var inPlace = inPlace
        for _ in 0..<100 {
            let result = unsafe clinux_exchange(aside, path)
            // Removed by somebody: then it stays so.
            if result == -Errno.noSuchFileOrDirectory.rawValue { break }
            try kernel("renameat2(\(path))") { result }
            let found = try settled(aside)
            // The same file with other bytes has been written over in its place.
            if found.inode == inPlace.inode, found.bytes == inPlace.bytes { break }
            inPlace = inHand
            inHand = found
        }
        try remove(aside)
    }

    /// For filesystems that cannot exchange: what is written between the look and the rename is lost.
    private static func renameOver(
        _ path: String, _ old: FileContent, _ aside: String
    ) throws(KernelError) -> Bool {
        guard try settled(path).bytes == old.bytes else {
            try remove(aside)
            return false
        }
        try move(aside, to: path)
        return true
    }

    private static func syncDirectory(of path: String) throws(KernelError) {
        let directory = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
        let handle = try OwnedDescriptor.open(directory.isEmpty ? "/" : directory, .directory)
        try kernel("fsync(\(directory))") { clinux_sync(handle.rawValue) }
    }
}
