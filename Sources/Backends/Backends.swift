// SPDX-License-Identifier: Apache-2.0

package import EBPFBackend
internal import IPTablesBackend
package import LinuxKernel
package import RedirectionEngine
package import RedirectionModel
internal import XTables

/// The mechanisms of this build: the one place that knows every backend by name.
package enum Backends {
    /// What can be made, in order of preference.
    package static let built: [Mechanism] = [.ebpf, .nft, .legacy]

    /// What finds and removes what any process ever left, one for each mechanism.
    package static let sweepers: [any KernelSweeper] = []

    /// The file that iptables(8) locks while it writes legacy rules.
    package static let lockFile = XTables.lockFile

    /// What this kernel has of each mechanism, in order of preference.
    package static func assess() -> [Assessment] {
        built.map { mechanism in
            switch mechanism {
            case .ebpf: EBPFBackend.assess()
            case .nft: IPTablesBackend.assess(.nft)
            case .legacy: IPTablesBackend.assess(.legacy)
            }
        }
    }

    /// The mechanism to use, and why; `inbound` is how eBPF would take inbound connections.
    package static func choose(
        _ wish: Wish, for plan: RedirectionPlan, inbound: InboundMethod
    ) throws -> Choice {
        let release = try kernelRelease()
        let version = KernelVersion(release: release) ?? KernelVersion(0, 0)
        return try RedirectionEngine.choose(wish, among: assess(), on: version) { mechanism in
            inspector(of: mechanism, inbound: inbound).refusal(of: plan)
        }
    }

    /// What tells a mechanism's doings; `cgroup` is where to look for its BPF programs.
    package static func inspector(
        of mechanism: Mechanism, below cgroup: Cgroup? = nil, inbound: InboundMethod
    ) -> any PlanInspector {
        switch mechanism {
        case .ebpf: EBPFInspector(below: cgroup, inbound: inbound)
        case .nft: IPTablesInspector(.nft)
        case .legacy: IPTablesInspector(.legacy)
        }
    }

    /// A node's own instance, for the workloads below `node`.
    ///
    /// `lockFile` is what writers of legacy rules in these workloads agree on: not the
    /// machine's, which this would make and leave where no iptables is installed. With `pins`, what
    /// eBPF has in the kernel outlives the process.
    package static func make(
        _ mechanism: Mechanism, on node: Cgroup, inbound: InboundMethod, lockFile: String,
        pins: String? = nil
    ) async throws(RedirectionError) -> any RedirectionBackend {
        switch mechanism {
        case .ebpf:
            try await EBPFBackend.load(
                attachingTo: node, inbound: inbound, pins: pins.map { BPFPins(in: $0) })
        case .nft: IPTablesBackend(.nft)
        case .legacy: IPTablesBackend(.legacy, lockFile: lockFile)
        }
    }
}
