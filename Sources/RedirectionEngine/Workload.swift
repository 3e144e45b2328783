// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel

/// What is redirected: a network namespace and the cgroup its processes live in.
package struct Workload: Identifiable, Sendable {
    /// A name that is unique on the node.
    package let id: String
    package let namespace: NetworkNamespace

    package init(id: String, namespace: NetworkNamespace) {
        self.id = id
        self.namespace = namespace
    }

    /// Refuses a workload in our own network namespace, as a pod with `hostNetwork` is.
    ///
    /// Every backend asks this before it changes anything: rules there would redirect the
    /// machine, not a workload.
    package func refuseOwnNamespace() throws(RedirectionError) {
        let own = try during("look up our own namespace") { () throws(KernelError) in
            try NetworkNamespace.current()
        }
        if namespace == own { throw .ownNamespace(workload: id) }
    }
}
