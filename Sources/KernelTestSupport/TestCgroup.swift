// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel
package import RedirectionEngine
internal import Synchronization

/// The cgroup this process is in for a test's sake.
private let testCgroup = Mutex<Cgroup?>(nil)

/// Runs `body` with the process in a cgroup made for it, then goes home and removes it.
///
/// Programs that redirect are attached to this cgroup, or below it, and never to one that holds
/// anything but the test. Membership belongs to the whole process, so call this in an exit test.
package func withTestCgroup(_ body: (Cgroup) async throws -> Void) async throws {
    let home = try Cgroup.current()
    let cgroup = try Cgroup.createUnique(prefix: "swerve-test")
    try cgroup.add(0)
    testCgroup.withLock { $0 = cgroup }
    do {
        try await body(cgroup)
    } catch {
        try leave(cgroup, for: home)
        throw error
    }
    try leave(cgroup, for: home)
}

private func leave(_ cgroup: Cgroup, for home: Cgroup) throws(KernelError) {
    testCgroup.withLock { $0 = nil }
    try home.add(0)
    for child in cgroup.children() { try child.remove() }
    try cgroup.remove()
}

extension Workload {
    /// A workload with an empty namespace, and in `withTestCgroup` with a cgroup of its own.
    package static func forTest(_ id: String) throws(KernelError) -> Workload {
        let namespace = try NetworkNamespace.create()
        guard let parent = testCgroup.withLock({ $0 }) else {
            return Workload(id: id, namespace: namespace)
        }
        let cgroup = parent.child("\(id)-\(namespace.inode)")
        try cgroup.create()
        try cgroup.makeThreaded()
        return Workload(id: id, namespace: namespace, cgroup: cgroup)
    }

    /// The namespace for the workload's own threads: what they open there is the workload's, by
    /// namespace and by cgroup.
    package func inside() throws(KernelError) -> NetworkNamespace {
        guard let cgroup else { return namespace }
        return try namespace.within(cgroup)
    }
}
