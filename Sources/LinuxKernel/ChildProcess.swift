// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims
package import RedirectionModel

#if canImport(Glibc)
internal import Glibc
#endif

/// A process we started: where it lives, who it runs as, and how it ends.
package final class ChildProcess: Sendable {
    package let pid: Int32

    private init(pid: Int32) { self.pid = pid }

    /// What a process is born with.
    package struct Birth: Sendable {
        package var arguments: [String]
        package var environment: [String] = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin"]
        package var namespace: NetworkNamespace?
        package var cgroup: Cgroup?
        package var owner: Owner?
        /// Descriptors to use as standard input, output and error; `nil` inherits.
        package var input: CInt?
        package var output: CInt?
        package var error: CInt?
        /// A file the process sees as `/etc/hosts`.
        package var hosts: String?
        /// Whether to leave the terminal's session, and with it Ctrl-C.
        package var startsSession = false

        package init(_ arguments: [String]) { self.arguments = arguments }
    }

    /// Starts a process; a program that cannot be executed is an error here, not a silent exit.
    package static func start(_ birth: Birth) throws(KernelError) -> ChildProcess {
        let processes = try birth.cgroup.map { cgroup throws(KernelError) in
            SharedDescriptor(try cgroup.openProcesses())
        }
        let arguments = CStringArray(birth.arguments)
        let environment = CStringArray(birth.environment)
        let hosts = CStringArray(birth.hosts.map { [$0] } ?? [])
        var record = unsafe clinux_birth(
            arguments: arguments.pointer, environment: environment.pointer,
            netns: birth.namespace?.rawDescriptor ?? -1,
            cgroup_procs: processes?.rawValue ?? -1, input: birth.input ?? -1,
            output: birth.output ?? -1, error: birth.error ?? -1, uid: birth.owner?.uid ?? 0,
            gid: birth.owner?.gid ?? 0, drops_privileges: birth.owner != nil,
            new_session: birth.startsSession, hosts: hosts.first)
        let pid = try kernel("start \(birth.arguments.first ?? "nothing")") {
            unsafe clinux_spawn(&record)
        }
        withExtendedLifetime((arguments, environment, hosts, processes)) {}
        return ChildProcess(pid: pid)
    }

    /// The exit code, or 128 + the signal; `nil` while the process runs.
    package func exitStatus() throws(KernelError) -> Int? { try wait(blocking: false) }

    /// Waits for the end, and blocks the calling thread.
    package func waitForExit() throws(KernelError) -> Int { try wait(blocking: true) ?? 0 }

    /// Waits at most `limit` for the end; `nil` while the process runs.
    package func waitForExit(within limit: Duration) throws(KernelError) -> Int? {
        if let status = try exitStatus() { return status }
        let handle = OwnedDescriptor(
            taking: try kernel("pidfd_open(\(pid))") { clinux_pidfd_open(pid) })
        return try handle.waitForInput(limit) ? try waitForExit() : nil
    }

    private func wait(blocking: Bool) throws(KernelError) -> Int? {
        var status: CInt = 0
        let result = try kernel("waitpid(\(pid))") { unsafe clinux_wait(pid, blocking, &status) }
        return result == 0 ? nil : Int(status)
    }

    package func signal(_ number: CInt) throws(KernelError) {
        try kernel("kill(\(pid), \(number))") { clinux_kill(pid, number) }
    }
}

/// A descriptor that several owners share.
final class SharedDescriptor: Sendable {
    private let descriptor: OwnedDescriptor
    init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
    var rawValue: CInt { descriptor.rawValue }
}

/// A NULL-terminated array of C strings, as execve(2) takes it.
@safe
private final class CStringArray {
    private let strings: [UnsafeMutablePointer<CChar>?]
    let pointer: UnsafeMutablePointer<UnsafePointer<CChar>?>

    init(_ values: [String]) {
        unsafe strings = values.map { unsafe strdup($0) }
        unsafe pointer = .allocate(capacity: values.count + 1)
        for index in values.indices {
            unsafe (pointer + index).initialize(to: UnsafePointer(strings[index]))
        }
        unsafe (pointer + values.count).initialize(to: nil)
    }

    var first: UnsafePointer<CChar>? { unsafe pointer[0] }

    deinit {
        unsafe pointer.deallocate()
        unsafe strings.forEach { unsafe free($0) }
    }
}
