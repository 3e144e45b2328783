// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel
package import LocalHTTP
package import RedirectionEngine

/// Where the agent is asked, and what it needs to answer.
package struct Door: Sendable {
    package let socket: String
    /// Where Flomesh's own plugin asks, if that is wanted: `/var/run/fsm-cni.sock`.
    package var flomeshSocket: String?
    package var policy: NodePolicy
    /// The cluster to follow, on a node of one.
    package var cluster: ClusterAccess?
    /// Below which kubelet makes its pods' cgroups.
    package var cgroups: Cgroup?
    /// Where runtimes' CNI library remembers attachments, to find pods by that nobody has told us of:
    /// `/var/lib/cni/results`; on a node of a cluster alone.
    package var attachments: Directory?
    package var limits = Limits()
    /// How long requests are waited for at the end.
    package var grace = Duration.seconds(10)
    /// How long, after that, what they have begun is.
    package var settling = Duration.seconds(30)
    /// What this kernel has of each mechanism.
    package var probe: @Sendable () -> [Assessment]
    /// What tells the mechanisms' doings in a workload.
    package var inspectors: @Sendable (Workload) -> [any PlanInspector]

    package init(
        socket: String, policy: NodePolicy, probe: @escaping @Sendable () -> [Assessment],
        inspectors: @escaping @Sendable (Workload) -> [any PlanInspector]
    ) {
        self.socket = socket
        self.policy = policy
        self.probe = probe
        self.inspectors = inspectors
    }
}
