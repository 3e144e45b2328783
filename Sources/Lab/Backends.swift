// SPDX-License-Identifier: Apache-2.0

internal import EBPFBackend
internal import IPTablesBackend
internal import LinuxKernel
package import RedirectionEngine

/// The mechanisms of this build: the one place that knows every backend by name.
package enum Backends {
    /// What this kernel has of each mechanism, in order of preference.
    package static func assess() async -> [Assessment] {
        []
    }

    /// The mechanism to use, and why.
    package static func choose(_ wish: Wish) async throws -> Choice {
        let release = try kernelRelease()
        let version = KernelVersion(release: release) ?? KernelVersion(0, 0)
        let assessments = await assess()
        if case .exactly(let mechanism) = wish,
            !assessments.contains(where: { $0.mechanism == mechanism })
        {
            throw LabError.notBuilt(mechanism)
        }
        return try RedirectionEngine.choose(wish, among: assessments, on: version)
    }

    /// A node's own instance.
    static func make(
        _ mechanism: Mechanism, on node: Cgroup, inbound: InboundPath
    ) async throws -> any RedirectionBackend {
        throw LabError.notBuilt(mechanism)
    }
}
