// SPDX-License-Identifier: Apache-2.0

package import ArgumentParser
internal import LinuxKernel
package import RedirectionEngine

#if canImport(Glibc)
internal import Glibc
#endif

/// Where a node keeps what outlives a command; the same for all commands of one node.
package struct NodeOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Where records, journals and locks are kept.", valueName: "directory"))
    package var stateDir = "/run/swerve"

    @Option(
        help: ArgumentHelp(
            "A directory in bpffs for what eBPF keeps.", valueName: "directory"))
    package var pins = Self.defaultPins
    package static let defaultPins = "/sys/fs/bpf/swerve"

    @Option(
        help: ArgumentHelp(
            "The cgroup below which the workloads live (default: the root of cgroup2).",
            valueName: "directory"))
    package var cgroupRoot: String?

    @OptionGroup package var features: FeatureOptions

    package init() {}

    package func validate() throws {
        for (name, path) in [("--state-dir", stateDir), ("--pins", pins)]
        where !path.hasPrefix("/") {
            throw ValidationError("\(name) \(path): give a path that begins with /")
        }
    }

    /// Refuses who cannot see what is kept, and would take it for nothing.
    package func requireRoot() throws {
        guard geteuid() == 0 else { throw RootIsNeeded() }
    }

    package func node() throws -> Node {
        let cgroup: Cgroup
        if let cgroupRoot {
            cgroup = Cgroup(path: cgroupRoot)
            do throws(KernelError) {
                _ = try cgroup.openProcesses()
            } catch {
                throw ValidationError(
                    "--cgroup-root \(cgroupRoot): \(error); give a cgroup of the cgroup2 hierarchy")
            }
        } else {
            // Packet filters do without, on machines that have version 1 alone.
            cgroup = (try? Cgroup.root()) ?? Cgroup(path: "/sys/fs/cgroup")
        }
        return Node(cgroup: cgroup, pins: pins, state: stateDir, below: features.ceiling)
    }
}

struct RootIsNeeded: Error, CustomStringConvertible {
    var description: String {
        "only root can see what is redirected on this node: run this as root"
    }
}

extension DriftResponse: ExpressibleByArgument {}
