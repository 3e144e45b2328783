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
}
