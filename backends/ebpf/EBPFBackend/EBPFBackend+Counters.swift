// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
package import RedirectionEngine

extension EBPFBackend {
    /// How often each rule has decided since the plan was applied.
    ///
    /// A decision is made once a connection, and once a captured datagram of a socket that is not
    /// connected. Empty for a workload that is not redirected.
    package func counters(
        in workload: Workload
    ) async throws(RedirectionError) -> ReasonCounters {
        let key = try key(of: workload)
        return try during("read the counters of \(workload.id)") { () throws(KernelError) in
            try node.readable.counters(of: key)
        }
    }
}
