// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel

/// A cgroup of the memory controller that this process enters while it makes something in the
/// kernel: what is made is charged there, and stays charged there when the process has left.
///
/// Maps and what they come to hold, programs, rules and sets are charged; entries of connection
/// tracking are not.
struct MemoryAccount: Sendable {
    private let home: Cgroup
    private let account: Cgroup
    /// Version 1 has a file for what is the kernel's; version 2 a line in a file.
    private let isFirstVersion: Bool

    /// `nil` where this process may not have one, or the kernel has no memory controller.
    init?() {
        let name = "swerve-bench-\(UInt64.random(in: 0...(.max)))"
        if let home = Self.firstVersionHome() {
            (self.home, isFirstVersion) = (home, true)
            account = home.child(name)
        } else {
            guard let home = try? Cgroup.current(), let root = try? Cgroup.root() else {
                return nil
            }
            (self.home, isFirstVersion) = (home, false)
            account = root.child(name)
        }
        guard (try? account.create()) != nil else { return nil }
        guard (try? kernelBytes()) != nil else {
            remove()
            return nil
        }
    }

    /// Where the version 1 hierarchy of the controller has this process, if there is one.
    private static func firstVersionHome() -> Cgroup? {
        let mounts = (try? readFile("/proc/self/mountinfo")) ?? ""
        let line = mounts.split(separator: "\n").first { line in
            let fields = line.split(separator: " ")
            let options = fields.last?.split(separator: ",") ?? []
            return fields.contains("cgroup") && options.contains("memory")
        }
        let cgroups = (try? readFile("/proc/self/cgroup")) ?? ""
        let own = cgroups.split(separator: "\n").first { $0.contains(":memory:") }
        guard let fields = line?.split(separator: " "), fields.count > 4, fields[3] == "/",
            let path = own?.split(separator: ":", maxSplits: 2).last
        else { return nil }
        return Cgroup(path: String(fields[4]) + (path == "/" ? "" : path))
    }

    /// What is charged for the kernel's own memory.
    func kernelBytes() throws -> Int {
        let file = isFirstVersion ? "/memory.kmem.usage_in_bytes" : "/memory.stat"
        let text = try readFile(account.path + file)
        let line = text.split(separator: "\n").first { isFirstVersion || $0.hasPrefix("kernel ") }
        guard let bytes = line?.split(separator: " ").last.flatMap({ Int($0) }) else {
            throw BenchError.noMemoryController
        }
        return bytes
    }

    func enter() throws(KernelError) { try account.add(0) }

    func leave() throws(KernelError) { try home.add(0) }

    /// Takes the cgroup away; what is charged to it goes to the one above.
    func remove() { try? account.remove() }
}
