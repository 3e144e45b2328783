// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel

/// Something in the kernel that is ours by its marks, found without a memory of having made it.
package struct Remain: Hashable, Sendable, Codable {
    package let mechanism: Mechanism
    package let part: KernelPart
    /// Where: a namespace's name, a cgroup's path, a file.
    package let place: String
    package let what: String

    package init(_ mechanism: Mechanism, _ part: KernelPart, in place: String, _ what: String) {
        self.mechanism = mechanism
        self.part = part
        self.place = place
        self.what = what
    }
}

/// Finds and removes what a mechanism has ever left, whoever made it and whether or not it is whole.
///
/// It needs no backend that runs, and no record of what was done: `swerve cleanup` is made of these.
package protocol KernelSweeper: Sendable {
    var mechanism: Mechanism { get }

    /// What is ours in the network namespace; `name` is what people call it.
    func remains(
        in namespace: NetworkNamespace, named name: String
    ) async throws(RedirectionError) -> [Remain]

    /// Removes it.
    func sweep(
        _ namespace: NetworkNamespace, named name: String
    ) async throws(RedirectionError)

    /// What is ours on the node: programs on cgroups, links, pins.
    func remains(on node: Node) async throws(RedirectionError) -> [Remain]

    /// Removes it.
    func sweep(_ node: Node) async throws(RedirectionError)

    /// Throws `.newerState` where a newer version has left what this one may not know whole.
    func refuseNewer(on node: Node) throws(RedirectionError)
}

extension KernelSweeper {
    /// Rules bear no version.
    package func refuseNewer(on node: Node) throws(RedirectionError) {}
}

/// Where things are kept on a node; tests have their own.
package struct Node: Hashable, Sendable {
    /// The top of the cgroup2 hierarchy that programs are looked for in.
    package let cgroup: Cgroup
    /// A directory in bpffs for what outlives a process: `/sys/fs/bpf/swerve`.
    package let pins: String
    /// A directory for records, journal and locks: `/run/swerve`.
    package let state: String
    /// What of the kernel is used; every process of a node uses the same.
    package let features: FeatureCeiling

    package init(
        cgroup: Cgroup, pins: String, state: String, below features: FeatureCeiling = .none
    ) {
        self.cgroup = cgroup
        self.pins = pins
        self.state = state
        self.features = features
    }
}
