// SPDX-License-Identifier: Apache-2.0

internal import Foundation
package import LinuxKernel
package import RedirectionEngine
internal import Synchronization
internal import SystemPackage
internal import Testing

/// The cgroup this process is in for a test's sake.
private let testCgroup = Mutex<Cgroup?>(nil)

/// Runs `body` with the process in a cgroup made for it, then goes home and removes it.
///
/// Programs that redirect are attached to this cgroup, or below it, and never to one that holds
/// anything but the test. Membership belongs to the whole process, and to what it starts meanwhile:
/// outside an exit test this ends the process.
///
/// What `body` throws is recorded as the test's issue: an exit test that throws only says that it
/// crashed, and leaves what it made.
///
/// Where there is no hierarchy to make one in, mechanisms that need none can be tested all the same:
/// the cgroup is then one that is not there.
package func withTestCgroup(_ body: (Cgroup) async throws -> Void) async throws {
    precondition(Test.current == nil, "a test takes the other tests' process into its cgroup")
    guard (try? Cgroup.root()) != nil else {
        return try await body(Cgroup(path: "/sys/fs/cgroup/none"))
    }
    let home = try Cgroup.current()
    let cgroup = try Cgroup.createUnique(prefix: "swerve-test")
    try cgroup.add(0)
    testCgroup.withLock { $0 = cgroup }
    do {
        try await body(cgroup)
    } catch {
        Issue.record(error)
    }
    try leave(cgroup, for: home)
}

private func leave(_ cgroup: Cgroup, for home: Cgroup) throws(KernelError) {
    testCgroup.withLock { $0 = nil }
    try home.add(0)
    for child in cgroup.children() { try child.remove() }
    // A process that has been waited for may leave its cgroup a moment later.
    for _ in 0..<500 {
        do throws(KernelError) {
            return try cgroup.remove()
        } catch  where error.errno == .resourceBusy {
            Thread.sleep(forTimeInterval: 0.01)
        }
    }
    try cgroup.remove()
}

/// Makes a cgroup below the test's own, for some of its threads; `nil` outside `withTestCgroup`.
package func makeTestCgroup(_ name: String) throws(KernelError) -> Cgroup? {
    guard let parent = testCgroup.withLock({ $0 }) else { return nil }
    let cgroup = parent.child(name)
    try cgroup.create()
    try cgroup.makeThreaded()
    return cgroup
}

extension Workload {
    /// A workload with an empty namespace, and in `withTestCgroup` with a cgroup of its own.
    package static func forTest(_ id: String) throws(KernelError) -> Workload {
        let namespace = try NetworkNamespace.create()
        return Workload(
            id: id, namespace: namespace, cgroup: try makeTestCgroup("\(id)-\(namespace.inode)"))
    }

    /// The namespace for the workload's own threads: what they open there is the workload's, by
    /// namespace and by cgroup.
    package func inside() throws(KernelError) -> NetworkNamespace {
        guard let cgroup else { return namespace }
        return try namespace.within(cgroup)
    }
}
