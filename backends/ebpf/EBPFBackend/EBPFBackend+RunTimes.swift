// SPDX-License-Identifier: Apache-2.0

internal import LibBPF
package import LinuxKernel

/// How long the programs take, as the kernel counts it.
extension EBPFBackend {
    /// A program in use, by its name, and what it has run.
    package struct ProgramRuns: Hashable, Sendable {
        package let name: String
        package let runs: UInt64
        package let nanoseconds: UInt64
    }

    /// Makes the kernel count until the descriptor is closed (Linux 5.8).
    package static func countRuns() throws(KernelError) -> OwnedDescriptor {
        try BPFRunStatistics.enable()
    }

    /// What the programs in use have run while it counted: the node's, and one pod's own.
    package func runs() throws(KernelError) -> [ProgramRuns] {
        try programs.map { report throws(KernelError) in
            let statistics = try BPFProgram.open(id: report.id).runStatistics()
            return ProgramRuns(
                name: report.name, runs: statistics.runs, nanoseconds: statistics.nanoseconds)
        }
    }
}
