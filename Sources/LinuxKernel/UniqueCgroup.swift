// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials

extension Cgroup {
    /// Makes a cgroup with a name nobody has used, for what must not meet anything else.
    ///
    /// The name says whose it is, so that what its owner leaves when it is killed can be told
    /// from what is in use. It is directly below `parent`; without one, below the root.
    package static func createUnique(
        prefix: String, below parent: Cgroup? = nil
    ) throws(KernelError) -> Cgroup {
        let owner = try ProcessIdentity.current()
        let namespace = try ProcessIdentity.currentPidNamespace()
        let number = UInt64.random(in: 0 ... .max)
        let name = "\(prefix)-\(namespace).\(owner.pid).\(owner.startTime).\(number)"
        let parent = if let parent { parent } else { try root() }
        let cgroup = parent.child(name)
        try cgroup.create()
        return cgroup
    }

    /// Removes the empty cgroups that `createUnique` made for processes that are gone.
    package static func sweep(
        prefix: String, below parent: Cgroup? = nil
    ) throws(KernelError) {
        let root = if let parent { parent } else { try root() }
        let here = try ProcessIdentity.currentPidNamespace()
        let names = (try? FileManager.default.contentsOfDirectory(atPath: root.path)) ?? []
        for name in names where name.hasPrefix(prefix + "-") {
            let parts = name.dropFirst(prefix.count + 1).split(separator: ".")
            // In another pid namespace, the owner's number means nothing.
            guard parts.count == 4, UInt64(parts[0]) == here, let pid = Int32(parts[1]),
                let startTime = UInt64(parts[2])
            else { continue }
            guard !ProcessIdentity(pid: pid, startTime: startTime).isRunning else { continue }
            let cgroup = root.child(name)
            for child in cgroup.children() { try child.remove() }
            try cgroup.remove()
        }
    }

    /// Those directly below.
    package func children() -> [Cgroup] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        return names.map(child).filter {
            FileManager.default.fileExists(atPath: $0.path + "/cgroup.procs")
        }
    }
}
