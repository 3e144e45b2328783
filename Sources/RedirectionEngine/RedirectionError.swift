// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel

/// Why a workload could not be redirected, sorted by what the caller should do next.
package enum RedirectionError: Error, Hashable {
    /// The kernel lacks something this backend needs; try another backend.
    case unsupported(feature: String, because: String)
    /// The plan says something this backend cannot carry out exactly; try another backend.
    case inexpressible(part: String, mechanism: Mechanism)
    /// The workload shares our own network namespace: its rules would be the machine's.
    case ownNamespace(workload: String)
    /// The workload's cgroup holds our own process, or everybody's.
    case ownCgroup(workload: String)
    /// A limit of the kernel or of a map is reached; nothing was truncated, nothing applied.
    case limit(String)
    /// A newer version of this product has left state that this one cannot read.
    case newerState(String, version: Int, own: Int)
    /// The kernel refused a step for a reason of its own; retry with backoff.
    case kernel(KernelError, during: String)
}

extension RedirectionError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unsupported(let feature, let reason):
            "this kernel has no \(feature): \(reason)"
        case .inexpressible(let part, let mechanism):
            "\(mechanism) cannot express \(part); choose another mechanism or change the policy"
        case .ownNamespace(let workload):
            """
            \(workload) shares the network namespace of the machine, which is never touched; \
            a workload needs a network namespace of its own
            """
        case .ownCgroup(let workload):
            """
            \(workload) is a cgroup that holds this very process, or all of the machine, which are \
            never touched; a workload needs a cgroup of its own
            """
        case .limit(let text): text
        case .newerState(let place, let version, let own):
            """
            \(place) is of version \(version), and this program knows versions up to \(own): \
            use the newer program, or let it remove what it made (swerve cleanup) first
            """
        case .kernel(let error, let step): "\(step): \(error)"
        }
    }
}

/// Names the step that a kernel error interrupted.
package func during<Value: ~Copyable>(
    _ step: @autoclosure () -> String, _ body: () throws(KernelError) -> Value
) throws(RedirectionError) -> Value {
    do throws(KernelError) {
        return try body()
    } catch {
        throw .kernel(error, during: step())
    }
}
