// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims
internal import SystemPackage

/// A cgroup of the version 2 hierarchy, by its path (cgroups(7)).
package struct Cgroup: Hashable, Sendable {
    package let path: String

    package init(path: String) { self.path = path }

    /// The root of the cgroup2 hierarchy, wherever it is mounted.
    ///
    /// On hybrid systems that is `/sys/fs/cgroup/unified`, so it is looked up, never assumed. In a
    /// cgroup namespace it is the namespace's, whatever else of the hierarchy is mounted.
    package static func root() throws(KernelError) -> Cgroup {
        guard let root = try mounts().first(where: { $0.root == "/" }) else {
            throw KernelError("find cgroup2 in /proc/self/mountinfo", .noSuchFileOrDirectory)
        }
        return Cgroup(path: root.point)
    }

    /// The highest that can be reached above it, or itself: where it is mounted.
    ///
    /// In a container the node's hierarchy may be mounted beside the container's own.
    package func top() throws(KernelError) -> Cgroup {
        let mounts = try Self.mounts().map(\.point)
            .filter { path == $0 || path.hasPrefix($0 == "/" ? $0 : $0 + "/") }
        guard let point = mounts.max(by: { $0.utf8.count < $1.utf8.count }) else {
            return try .root()
        }
        return Cgroup(path: point)
    }

    /// Where cgroup2 is mounted, and which cgroup as seen from our own namespace.
    private static func mounts() throws(KernelError) -> [(root: Substring, point: String)] {
        try readFile("/proc/self/mountinfo").split(separator: "\n").compactMap { line in
            // proc(5): … (4) root, (5) mount point … "-" filesystem type …
            let fields = line.split(separator: " ")
            guard let dash = fields.firstIndex(of: "-"), dash + 1 < fields.count,
                fields[dash + 1] == "cgroup2", fields.count > 4
            else { return nil }
            return (fields[3], String(fields[4]))
        }
    }

    /// The one our own process lives in.
    package static func current() throws(KernelError) -> Cgroup { try inside("/proc/self/cgroup") }

    /// The one the calling thread lives in: the process's, or a threaded one below it.
    static func ofThread() throws(KernelError) -> Cgroup { try inside("/proc/thread-self/cgroup") }

    /// Reads the line `0::/path` (cgroups(7)).
    private static func inside(_ file: String) throws(KernelError) -> Cgroup {
        let lines = try readFile(file).split(separator: "\n")
        guard let line = lines.first(where: { $0.hasPrefix("0::/") }) else {
            throw KernelError("find this process in \(file)", .noSuchProcess)
        }
        let name = line.dropFirst("0::/".count)
        return name.isEmpty ? try root() : try root().child(String(name))
    }

    /// The number the kernel gives it for its whole life, and gives to no other.
    package func id() throws(KernelError) -> UInt64 {
        let directory = try open()
        var id: UInt64 = 0
        try kernel("name_to_handle_at(\(path))") {
            unsafe clinux_cgroup_id(directory.rawValue, &id)
        }
        return id
    }

    /// Whether our own process lives in it or below it.
    package func holdsOurselves() throws(KernelError) -> Bool { try holds(.current()) }

    /// Whether `other` is this one or below it, by whatever paths they are called.
    package func holds(_ other: Cgroup) throws(KernelError) -> Bool {
        let id = try id()
        let root = try other.top().path
        var path = other.path
        while try Cgroup(path: path).id() != id {
            guard path.count > root.count, let end = path.lastIndex(of: "/") else { return false }
            path = String(path[..<end])
        }
        return true
    }

    package func child(_ name: String) -> Cgroup { Cgroup(path: path + "/" + name) }

    /// Makes the directory; it is not an error if it is there.
    package func create() throws(KernelError) {
        do throws(KernelError) {
            try kernel("mkdir(\(path))") { unsafe clinux_mkdir(path, 0o755) }
        } catch  where error.errno == .fileExists {}
    }

    /// Opens the directory, for bpf(2) to attach to.
    package func open() throws(KernelError) -> OwnedDescriptor {
        try OwnedDescriptor.open(path, .directory)
    }

    /// Opens `cgroup.procs`, for a child process to write itself into.
    package func openProcesses() throws(KernelError) -> OwnedDescriptor {
        try OwnedDescriptor.open(path + "/cgroup.procs", .write)
    }

    /// Moves a process here; 0 is the caller.
    package func add(_ process: Int32) throws(KernelError) {
        try openProcesses().write("\(process)")
    }

    /// Ends every process of the subtree (`cgroup.kill`, Linux 5.14).
    ///
    /// Older kernels end what lives here and not what lives below, and what is being born
    /// meanwhile escapes: repeat until nothing is left.
    package func killAll() throws(KernelError) {
        do throws(KernelError) {
            try OwnedDescriptor.open(path + "/cgroup.kill", .write).write("1")
        } catch {
            guard error.errno == .noSuchFileOrDirectory else { throw error }
            for process in try processes() { _ = clinux_kill(process, 9) }
        }
    }

    /// The processes that live here, not those below.
    package func processes() throws(KernelError) -> [Int32] {
        try readFile(path + "/cgroup.procs").split(separator: "\n").compactMap { Int32($0) }
    }

    /// True while a process lives in the subtree.
    package func isPopulated() throws(KernelError) -> Bool {
        try readFile(path + "/cgroup.events").contains("populated 1")
    }

    /// Removes the empty directory; it is not an error if it is gone.
    package func remove() throws(KernelError) {
        do throws(KernelError) {
            try kernel("rmdir(\(path))") { unsafe clinux_rmdir(path) }
        } catch  where error.errno == .noSuchFileOrDirectory {}
    }
}
