// SPDX-License-Identifier: Apache-2.0

internal import EBPFBackend
internal import FoundationEssentials
package import LinuxKernel
internal import SystemPackage

/// What of a lab lasts longer than processes and descriptors: a cgroup tree and a directory.
///
/// Made by the lab's guard before anything else, and removed by it after everything else.
package struct LabRemains: Sendable {
    package let identity: LabIdentity

    package init(_ identity: LabIdentity) { self.identity = identity }

    /// Makes both, empty; or neither.
    package func create() throws {
        do {
            try FileManager.default.createDirectory(
                atPath: identity.directory, withIntermediateDirectories: true)
            try identity.cgroup().create()
        } catch {
            try? removeDirectory()
            throw error
        }
    }

    /// Ends every process of the lab and removes what it left.
    ///
    /// A process on its way into the cgroup may arrive while it is being emptied, so this is
    /// repeated until the kernel agrees that nothing is there.
    package func remove(within limit: Duration = .seconds(10)) throws {
        let deadline = ContinuousClock.now + limit
        let cgroup = try identity.cgroup()
        while FileManager.default.fileExists(atPath: cgroup.path) {
            do throws(KernelError) {
                try Self.killTree(cgroup)
                try Self.waitUntilEmpty(cgroup, within: .milliseconds(100))
                try Self.removeTree(cgroup)
            } catch {
                if ContinuousClock.now >= deadline { throw error }
            }
        }
        try removeDirectory()
    }

    private func removeDirectory() throws {
        do {
            try FileManager.default.removeItem(atPath: identity.directory)
        } catch {
            // Gone is what was wanted, whoever did it.
            if FileManager.default.fileExists(atPath: identity.directory) { throw error }
        }
        removeBaseDirectories()
    }

    /// Waits for the last process to be gone.
    ///
    /// The kernel tells of changes of `cgroup.events` as changes of the file. Not for long, for
    /// one may have come after the others were killed.
    private static func waitUntilEmpty(
        _ cgroup: Cgroup, within limit: Duration
    ) throws(KernelError) {
        let watch = try FileWatch.open(cgroup.path + "/cgroup.events")
        let deadline = ContinuousClock.now + limit
        while try cgroup.isPopulated() {
            let left = deadline - .now
            guard left > .zero else {
                throw KernelError("empty \(cgroup.path)", .resourceBusy)
            }
            _ = try watch.waitForChange(left)
        }
    }

    private static func killTree(_ cgroup: Cgroup) throws(KernelError) {
        for child in cgroup.children() { try killTree(child) }
        try cgroup.killAll()
    }

    private static func removeTree(_ cgroup: Cgroup) throws(KernelError) {
        for child in cgroup.children() { try removeTree(child) }
        try cgroup.remove()
    }

    /// Takes the shared directories away again, unless somebody uses them.
    private func removeBaseDirectories() {
        // rmdir(2) refuses a directory that is not empty, and that is the wish.
        let base = Cgroup(path: LabIdentity.baseDirectory)
        try? base.remove()
        try? Cgroup(path: String(base.path.dropLast("/lab".count))).remove()
    }
}

extension LabRemains {
    /// Every lab of which something is there, its owner alive or not.
    package static func all() throws(KernelError) -> [LabRemains] {
        let cgroups = try Cgroup.root().children().compactMap { $0.path.split(separator: "/").last }
            .filter { $0.hasPrefix(LabIdentity.cgroupPrefix) }
            .map { String($0.dropFirst(LabIdentity.cgroupPrefix.count)) }
        let found = cgroups.compactMap(LabIdentity.init).map(LabRemains.init)
        return found + inBaseDirectory().filter { !found.map(\.identity).contains($0.identity) }
    }

    /// The labs that keep their files where this process would; only those are its to stop.
    static func inBaseDirectory() -> [LabRemains] {
        let names = try? FileManager.default.contentsOfDirectory(atPath: LabIdentity.baseDirectory)
        return (names ?? []).sorted().compactMap(LabIdentity.init).map(LabRemains.init)
    }

    /// Removes what labs left whose owner and guard were both killed; returns their names.
    @discardableResult
    package static func sweep() throws -> [LabIdentity] {
        let orphans = try all().filter(\.identity.isOrphan)
        for orphan in orphans { try orphan.remove() }
        try Cgroup.sweep(prefix: EBPFBackend.probePrefix)
        return orphans.map(\.identity)
    }
}
