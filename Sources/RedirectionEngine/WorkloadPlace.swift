// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel

/// Where a workload is found, by paths that another process can open too.
package struct WorkloadPlace: Hashable, Sendable, Codable {
    package let id: Workload.ID
    package let scope: Workload.Scope
    /// A file that opens the namespace: `/run/netns/web`.
    package let namespace: String
    package let cgroup: String?

    /// A pod; see `Workload.init(id:namespace:cgroup:)`.
    package init(id: Workload.ID, namespace: String, cgroup: String? = nil) {
        self.id = id
        self.namespace = namespace
        self.cgroup = cgroup
        scope = .namespace
    }

    /// The processes of a cgroup, in the namespace that `namespace` opens.
    package init(id: Workload.ID, cgroup: String, in namespace: String = "/proc/self/ns/net") {
        self.id = id
        self.namespace = namespace
        self.cgroup = cgroup
        scope = .cgroup
    }

    package func open() throws(KernelError) -> Workload {
        workload(in: try NetworkNamespace.open(namespace))
    }

    /// The workload, whose namespace has been opened by other means.
    package func workload(in namespace: NetworkNamespace) -> Workload {
        let group = cgroup.map { Cgroup(path: $0) }
        guard scope == .cgroup, let group else {
            return Workload(id: id, namespace: namespace, cgroup: group)
        }
        return Workload(id: id, cgroup: group, in: namespace)
    }
}

/// What tells a workload from a later one in the same place.
///
/// The kernel gives an inode number away again as soon as a namespace is gone, so more is kept
/// where there is more.
package struct WorkloadIdentity: Hashable, Sendable, Codable {
    /// Which boot of the machine it belongs to: `/proc/sys/kernel/random/boot_id`.
    package let boot: String
    package let namespaceInode: UInt64
    /// Unique for as long as the machine runs; `nil` before Linux 5.14.
    package let namespaceCookie: UInt64?
    /// The directory's number, where the cgroup is what makes the workload.
    package let cgroupInode: UInt64?

    package init(of workload: Workload) throws(KernelError) {
        boot = String(try readFile("/proc/sys/kernel/random/boot_id").prefix { $0 != "\n" })
        namespaceInode = workload.namespace.inode
        namespaceCookie = try workload.namespace.cookieIfAny()
        cgroupInode =
            if workload.scope == .cgroup, let cgroup = workload.cgroup {
                try cgroup.open().inode()
            } else { nil }
    }

    /// True where nothing that both know differs.
    package func isSame(as other: WorkloadIdentity) -> Bool {
        hasSameNamespace(as: other) && cgroupInode == other.cgroupInode
    }

    /// The same of the namespaces they are in.
    func hasSameNamespace(as other: WorkloadIdentity) -> Bool {
        let cookies = [namespaceCookie, other.namespaceCookie].compactMap(\.self)
        return boot == other.boot && namespaceInode == other.namespaceInode
            && Set(cookies).count <= 1
    }
}
