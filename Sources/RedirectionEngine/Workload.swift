// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel

/// What is redirected: a network namespace, or a cgroup in a namespace that is shared.
package struct Workload: Identifiable, Sendable {
    /// What makes traffic the workload's.
    package enum Scope: String, Hashable, Sendable, Codable {
        /// It is in the network namespace.
        case namespace
        /// Its socket was made in the cgroup, wherever else it is.
        case cgroup
    }

    /// A name that is unique on the node.
    package let id: String
    package let namespace: NetworkNamespace
    /// The cgroup its processes live in, where it is known.
    package let cgroup: Cgroup?
    package let scope: Scope

    /// A workload with a namespace of its own, a pod; `cgroup` is for kernels that cannot tell
    /// whose a socket is by its namespace.
    package init(id: String, namespace: NetworkNamespace, cgroup: Cgroup? = nil) {
        self.id = id
        self.namespace = namespace
        self.cgroup = cgroup
        scope = .namespace
    }

    /// A workload that is the processes of a cgroup: a command, a service of a virtual machine.
    package init(id: String, cgroup: Cgroup, in namespace: NetworkNamespace) {
        self.id = id
        self.namespace = namespace
        self.cgroup = cgroup
        scope = .cgroup
    }

    /// Refuses a workload that is the machine's network namespace, as a pod with `hostNetwork` is.
    ///
    /// Every backend asks this before it changes anything: rules there would redirect the
    /// machine, not a workload.
    package func refuseOwnNamespace() throws(RedirectionError) {
        guard scope == .namespace else { return }
        let machines = try during("look up the machine's namespace") { () throws(KernelError) in
            try NetworkNamespace.machines()
        }
        if machines.contains(namespace.inode) { throw .ownNamespace(workload: id) }
    }

    /// Refuses a cgroup that holds our own process: the root, or one of those we live in.
    ///
    /// Every backend asks this before it goes by the cgroup.
    package func refuseOwnCgroup() throws(RedirectionError) {
        guard let cgroup else { return }
        let isOwn = try during("look up our own cgroup") { () throws(KernelError) in
            try cgroup.holdsOurselves()
        }
        if isOwn { throw .ownCgroup(workload: id) }
    }

    /// Refuses a workload that is a cgroup, for mechanisms that go by the network namespace.
    package func refuseCgroup(_ mechanism: Mechanism) throws(RedirectionError) {
        guard scope == .namespace else {
            throw .inexpressible(part: "a workload that is a cgroup", mechanism: mechanism)
        }
    }
}
