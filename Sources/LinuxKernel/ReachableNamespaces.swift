// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials

/// The network namespaces of the machine, as far as files and processes lead to them.
package enum ReachableNamespaces {
    /// A namespace, and what people call it.
    package struct Found: Sendable {
        /// The shortest path that opens it: `/run/netns/web`, `/proc/7/ns/net`.
        package let path: String
        package let namespace: NetworkNamespace

        package init(path: String, namespace: NetworkNamespace) {
            self.path = path
            self.namespace = namespace
        }
    }

    /// Every namespace but our own, each once.
    ///
    /// What is gone before it can be opened is no namespace any more.
    package static func all() throws(KernelError) -> [Found] {
        var seen: Set = [try NetworkNamespace.current().inode]
        var found: [Found] = []
        for path in paths() {
            guard let namespace = try? NetworkNamespace.open(path),
                isNamespace(namespace), seen.insert(namespace.inode).inserted
            else { continue }
            found.append(Found(path: path, namespace: namespace))
        }
        return found
    }

    /// The namespace with this inode, if anything leads to it.
    package static func find(inode: UInt64) -> NetworkNamespace? {
        for path in paths() {
            if let namespace = try? NetworkNamespace.open(path), namespace.inode == inode,
                isNamespace(namespace)
            {
                return namespace
            }
        }
        return nil
    }

    private static func paths() -> [String] {
        let named = Directory(path: "/run/netns").names().map { "/run/netns/" + $0 }
        let processes = Directory(path: "/proc").names().compactMap { Int32($0) }.sorted()
        return named + processes.map { "/proc/\($0)/ns/net" }
    }

    /// A file in `/run/netns` may be any file; one that setns(2) takes is a namespace.
    private static func isNamespace(_ namespace: NetworkNamespace) -> Bool {
        (try? namespace.run {}) != nil
    }
}
