// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel

/// What a cleanup goes through: all that can be reached, or what a test has made.
package struct CleanupScope: Sendable {
    package let namespaces: [ReachableNamespaces.Found]
    package let node: Node

    package init(_ namespaces: [ReachableNamespaces.Found], on node: Node) {
        self.namespaces = namespaces
        self.node = node
    }
}

/// What a look at the node has found, and where it could not look.
package struct Findings: Sendable {
    package var remains: [Remain] = []
    package var failures: [String] = []

    package var isEmpty: Bool { remains.isEmpty && failures.isEmpty }
}

extension Engine {
    /// Everything on the node that is ours by its marks, whether or not there is a record of it.
    package nonisolated func findRemains(
        in scope: CleanupScope, _ sweepers: [any KernelSweeper]
    ) async -> Findings {
        var findings = Findings()
        for sweeper in sweepers {
            for found in scope.namespaces {
                do throws(RedirectionError) {
                    findings.remains += try await sweeper.remains(
                        in: found.namespace, named: found.path)
                } catch {
                    findings.failures.append("\(found.path), \(sweeper.mechanism): \(error)")
                }
            }
            do throws(RedirectionError) {
                findings.remains += try await sweeper.remains(on: scope.node)
            } catch {
                findings.failures.append("the node, \(sweeper.mechanism): \(error)")
            }
        }
        return findings
    }

    /// Removes every workload, and then what is found without a record; meanwhile no other process
    /// changes anything.
    ///
    /// What a newer version has left may be more than is known here: then nothing is removed, unless
    /// `isForced`. Returns what could not be removed, and why; whoever wants to know looks again.
    package func cleanUp(
        _ scope: CleanupScope, _ sweepers: [any KernelSweeper], isForced: Bool = false
    ) async -> [String] {
        do throws(EngineError) {
            return try await inCharge { () async throws(EngineError) in
                let newer = newerState(on: scope.node, sweepers)
                guard newer.isEmpty || isForced else { return newer }
                var failures = await removeWorkloads()
                for sweeper in sweepers { failures += await sweep(scope, sweeper) }
                return failures
            }
        } catch {
            return ["\(error)"]
        }
    }

    private func newerState(on node: Node, _ sweepers: [any KernelSweeper]) -> [String] {
        var newer: [String] = []
        for case .newer(let file, let version, let known) in list().problems {
            newer.append("\(StateError.newer(file: file, version: version, known: known))")
        }
        for sweeper in sweepers {
            do throws(RedirectionError) {
                try sweeper.refuseNewer(on: node)
            } catch {
                newer.append("\(error)")
            }
        }
        return newer
    }

    private func removeWorkloads() async -> [String] {
        var failures: [String] = []
        var ids: [Workload.ID] = []
        do throws(StateError) { ids = try store.ids() } catch { failures.append("\(error)") }
        for id in ids {
            do throws(EngineError) {
                try await remove(id)
            } catch {
                // What the backend cannot remove the sweepers may; a record that cannot be read is
                // not ours to judge, so not ours to remove.
                failures.append("\(id): \(error)")
            }
        }
        return failures
    }

    private func sweep(_ scope: CleanupScope, _ sweeper: any KernelSweeper) async -> [String] {
        var failures: [String] = []
        for found in scope.namespaces {
            do throws(RedirectionError) {
                try await sweeper.sweep(found.namespace, named: found.path)
            } catch {
                failures.append("\(found.path), \(sweeper.mechanism): \(error)")
            }
        }
        do throws(RedirectionError) {
            try await sweeper.sweep(scope.node)
        } catch {
            failures.append("the node, \(sweeper.mechanism): \(error)")
        }
        return failures
    }
}
