// SPDX-License-Identifier: Apache-2.0

internal import EBPFBackend
internal import IPTablesBackend
package import LinuxKernel
package import RedirectionEngine

/// The mechanisms of this build: the one place that knows every backend by name.
package enum Backends {
    /// What can be made, in order of preference.
    package static let built: [Mechanism] = [.nft, .legacy]

    /// What this kernel has of each mechanism, in order of preference.
    package static func assess() async -> [Assessment] {
        var assessments: [Assessment] = []
        for mechanism in built {
            switch mechanism {
            case .ebpf: continue
            case .nft:
                let trial = Trial(of: IPTablesBackend(.nft), "nf_tables inet nat", since: "5.2")
                assessments.append(await trial.assess())
            case .legacy:
                let trial = Trial(
                    of: IPTablesBackend(.legacy), "ip_tables and ip6_tables nat", since: "3.7")
                assessments.append(await trial.assess())
            }
        }
        return assessments
    }

    /// The mechanism to use, and why.
    package static func choose(_ wish: Wish) async throws -> Choice {
        let release = try kernelRelease()
        let version = KernelVersion(release: release) ?? KernelVersion(0, 0)
        if case .exactly(let mechanism) = wish, !built.contains(mechanism) {
            throw LabError.notBuilt(mechanism)
        }
        return try RedirectionEngine.choose(wish, among: await assess(), on: version)
    }

    /// A node's own instance, for the workloads below `node`.
    package static func make(
        _ mechanism: Mechanism, on node: Cgroup, inbound: InboundPath
    ) async throws -> any RedirectionBackend {
        switch mechanism {
        case .ebpf: throw LabError.notBuilt(mechanism)
        case .nft: IPTablesBackend(.nft)
        case .legacy: IPTablesBackend(.legacy)
        }
    }
}
