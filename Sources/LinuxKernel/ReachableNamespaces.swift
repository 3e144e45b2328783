// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import SystemPackage

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

    /// Every namespace but the machine's, each once.
    package static func all() throws(KernelError) -> [Found] { try survey().found }

    /// The same, and the paths where we may not look.
    ///
    /// What is gone before it can be opened is no namespace any more.
    package static func survey() throws(KernelError) -> (found: [Found], denied: [String]) {
        var seen = try NetworkNamespace.machines()
        var found: [Found] = []
        var denied: [String] = []
        for path in try paths() {
            guard let namespace = try open(path) else {
                if FileManager.default.fileExists(atPath: path) { denied.append(path) }
                continue
            }
            guard !seen.contains(namespace.inode), try isNamespace(namespace) else { continue }
            seen.insert(namespace.inode)
            found.append(Found(path: path, namespace: namespace))
        }
        return (found, denied)
    }

    /// The namespace with this inode; `nil` when nothing leads to it, and never for want of a
    /// descriptor to look with.
    package static func find(inode: UInt64) throws(KernelError) -> Found? {
        for path in try paths() {
            if let namespace = try open(path), namespace.inode == inode, try isNamespace(namespace)
            {
                return Found(path: path, namespace: namespace)
            }
        }
        return nil
    }

    private static func paths() throws(KernelError) -> [String] {
        let named = try Directory(path: "/run/netns").contents().map { "/run/netns/" + $0 }
        let processes = try Directory(path: "/proc").contents().compactMap { Int32($0) }.sorted()
        return named + processes.map { "/proc/\($0)/ns/net" }
    }

    /// A process that ends meanwhile is denied, not missing.
    private static func open(_ path: String) throws(KernelError) -> NetworkNamespace? {
        do throws(KernelError) {
            return try NetworkNamespace.open(path)
        } catch  where error.saysGone || error.errno == .permissionDenied {
            return nil
        }
    }

    /// A file in `/run/netns` may be any file; one that setns(2) takes is a namespace.
    private static func isNamespace(_ namespace: NetworkNamespace) throws(KernelError) -> Bool {
        do throws(KernelError) {
            try namespace.run {}
            return true
        } catch  where error.errno == .invalidArgument || error.errno == .notPermitted {
            return false
        }
    }
}

extension KernelError {
    /// Nothing is where somebody looked, or something else is by now.
    ///
    /// Every other error leaves open what is there.
    package var saysGone: Bool {
        [.noSuchFileOrDirectory, .noSuchProcess, .noSuchAddressOrDevice, .notDirectory]
            .contains(errno)
    }
}
