// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims
internal import SystemPackage

/// A process that cannot be mistaken for a later one with the same number.
package struct ProcessIdentity: Hashable, Sendable, Codable {
    package let pid: Int32
    /// When it started, in clock ticks after boot, proc(5).
    package let startTime: UInt64

    package init(pid: Int32, startTime: UInt64) {
        self.pid = pid
        self.startTime = startTime
    }

    /// The process that now has the number; `nil` when there is none, or only its zombie.
    package init?(running pid: Int32) {
        self.init(stat: "/proc/\(pid)/stat")
    }

    private init?(stat path: String) {
        // The second field is the program's name in parentheses, and may hold anything.
        guard let text = try? readFile(path), let pid = Int32(text.prefix { $0 != " " }),
            let name = text.lastIndex(of: ")")
        else { return nil }
        let fields = text[name...].split(separator: " ").dropFirst()
        guard fields.count > 19, let state = fields.first, state != "Z", state != "X",
            let startTime = UInt64(fields[fields.startIndex + 19])
        else { return nil }
        self.init(pid: pid, startTime: startTime)
    }

    /// The calling process.
    package static func current() throws(KernelError) -> ProcessIdentity {
        guard let identity = ProcessIdentity(stat: "/proc/self/stat") else {
            throw KernelError("read /proc/self/stat", .noSuchProcess)
        }
        return identity
    }

    /// Where the numbers of processes that this process sees mean something.
    package static func currentPidNamespace() throws(KernelError) -> UInt64 {
        try OwnedDescriptor.open("/proc/self/ns/pid").inode()
    }

    package var isRunning: Bool { ProcessIdentity(running: pid) == self }

    /// Sends a signal, unless the process is gone.
    package func signal(_ signal: Signal) throws(KernelError) {
        guard isRunning else { return }
        try kernel("kill(\(pid), \(signal))") { clinux_kill(pid, signal.rawValue) }
    }

    /// Waits for the end of a process that need not be a child; false when `limit` passes first.
    package func waitForEnd(within limit: Duration) throws(KernelError) -> Bool {
        guard isRunning else { return true }
        let number = clinux_pidfd_open(pid)
        guard number >= 0 else { return !isRunning }
        let handle = OwnedDescriptor(taking: number)
        // Looked at again: the number may have changed hands before the handle was opened.
        guard isRunning else { return true }
        return try handle.waitForInput(limit)
    }
}
