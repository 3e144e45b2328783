// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel

/// The keys of whatever can be reached, wherever it is redirected.
enum PodKeys {
    /// Every key that a namespace, or a cgroup below `node`, may have, and its path.
    static func reachable(below node: Cgroup) throws(KernelError) -> [UInt64: String] {
        var paths: [UInt64: String] = [:]
        for found in try ReachableNamespaces.all() {
            paths[found.namespace.inode] = found.path
            if let cookie = try found.namespace.cookieIfAny() { paths[cookie] = found.path }
        }
        for cgroup in node.subtree() {
            do throws(KernelError) {
                paths[try key(of: cgroup)] = cgroup.path
            } catch  where error.saysGone {}
        }
        return paths
    }

    static func key(of cgroup: Cgroup) throws(KernelError) -> UInt64 { try cgroup.id() | 1 << 63 }
}
