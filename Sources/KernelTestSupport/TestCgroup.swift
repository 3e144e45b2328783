// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel

/// Runs `body` with the process in a cgroup made for it, then goes home and removes it.
///
/// Programs that redirect are attached to this cgroup and never to one that holds anything but
/// the test. Membership belongs to the whole process, so call this in an exit test.
package func withTestCgroup(_ body: (Cgroup) async throws -> Void) async throws {
    let home = try Cgroup.current()
    let cgroup = try Cgroup.createUnique(prefix: "swerve-test")
    try cgroup.add(0)
    do {
        try await body(cgroup)
    } catch {
        try leave(cgroup, for: home)
        throw error
    }
    try leave(cgroup, for: home)
}

private func leave(_ cgroup: Cgroup, for home: Cgroup) throws(KernelError) {
    try home.add(0)
    try cgroup.remove()
}
