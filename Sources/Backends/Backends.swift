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
    package static func sweepers(pins: String) -> [any KernelSweeper] {
        [EBPFSweeper(pins: pins), IPTablesSweeper(.nft), IPTablesSweeper(.legacy)]
    }

    /// The file that iptables(8) locks while it writes legacy rules.
    package static let lockFile = XTables.lockFile

    /// What this kernel has of each mechanism below a ceiling, in order of preference.
    ///
    /// eBPF's programs would be attached to `node`; without it, to the top of the hierarchy.
    package static func assess(
        attachingTo node: Cgroup? = nil, below ceiling: FeatureCeiling = .none
    ) -> [Assessment] {
        built.map { mechanism in
            switch mechanism {
            case .ebpf: EBPFBackend.assess(attachingTo: node, below: ceiling)
            case .nft: IPTablesBackend.assess(.nft, below: ceiling)
            case .legacy: IPTablesBackend.assess(.legacy, below: ceiling)
            }
        }
    }

    /// What the mechanisms use of the kernel, in order of preference.
    package static var features: [Feature] {
        built.flatMap { mechanism in
            switch mechanism {
            case .ebpf: EBPFBackend.features
            case .nft: IPTablesBackend.features(.nft)
            case .legacy: IPTablesBackend.features(.legacy)
            }
        }
    }

    /// What of others' acts where we would, on the way to the workload's cgroup and in its namespace.
    ///
    /// Our programs are, or would be, attached to `node`; without it, to the top of the hierarchy.
    package static func others(
        around workload: Workload?, attachingTo node: Cgroup?
    ) -> [ForeignHook] {
        let target = node ?? (try? Cgroup.root())
        let programs = target.map {
            EBPFBackend.others(attachingTo: $0, leaf: workload?.cgroup)
        }
        let rules = workload.map { IPTablesBackend.others(in: $0.namespace) }
        return (programs ?? []) + (rules ?? [])
    }

    /// The mechanism to use, and why: for a plan, and in a workload, where it is known which.
    ///
    /// `inbound` is how eBPF would take inbound connections.
    package static func choose(
        _ wish: Wish, for plan: RedirectionPlan? = nil, in workload: Workload? = nil,
        attachingTo node: Cgroup? = nil, inbound: InboundMethod,
        below ceiling: FeatureCeiling = .none, beside others: [ForeignHook] = []
    ) throws -> Choice {
        let version = KernelVersion(release: try kernelRelease()) ?? KernelVersion(0, 0)
        var choice = try RedirectionEngine.choose(
            wish, among: assess(attachingTo: node, below: ceiling),
            on: ceiling.version.map { min($0, version) } ?? version, beside: others
        ) { mechanism in
            refusal(of: plan, in: workload, by: mechanism, below: ceiling)
                ?? plan.flatMap { inspector(of: mechanism, inbound: inbound).refusal(of: $0) }
        }
        if choice.mechanism == .ebpf {
            choice.manner = EBPFBackend.manner(of: workload, inbound, below: ceiling)
        }
        return choice
    }

    /// Why a mechanism cannot be the workload's, with this plan if there is one; `nil` where
    /// nothing is in the way, or no workload was named.
    private static func refusal(
        of plan: RedirectionPlan?, in workload: Workload?, by mechanism: Mechanism,
        below ceiling: FeatureCeiling
    ) -> String? {
        guard let workload else { return nil }
        switch mechanism {
        case .ebpf: return EBPFBackend.obstacle(to: plan, in: workload, below: ceiling)
        case .nft, .legacy:
            return workload.scope == .cgroup ? "it goes by network namespaces, not cgroups" : nil
        }
    }

    /// What tells a mechanism's doings; `cgroup` is where to look for its BPF programs.
    package static func inspector(
        of mechanism: Mechanism, below cgroup: Cgroup? = nil, inbound: InboundMethod,
        below features: FeatureCeiling = .none
    ) -> any PlanInspector {
        switch mechanism {
        case .ebpf: EBPFInspector(below: cgroup, inbound: inbound, below: features)
        case .nft: IPTablesInspector(.nft)
        case .legacy: IPTablesInspector(.legacy)
        }
    }

    /// A node's own instance, for the workloads below `node`.
    ///
    /// `lockFile` is what writers of legacy rules in these workloads agree on: not the
    /// machine's, which this would make and leave where no iptables is installed. Inbound by socket
    /// lookup becomes inbound by tc where the ceiling of `features`, or the kernel, has none. With
    /// `pins`, what eBPF has in the kernel outlives the process.
    package static func make(
        _ mechanism: Mechanism, on node: Cgroup, inbound: InboundMethod,
        below ceiling: FeatureCeiling = .none, lockFile: String, pins: String? = nil
    ) async throws(RedirectionError) -> any RedirectionBackend {
        switch mechanism {
        case .ebpf:
            try await EBPFBackend.load(
                attachingTo: node, inbound: inbound.permitted(below: ceiling), below: ceiling,
                pins: pins.map { BPFPins(in: $0) })
        case .nft: IPTablesBackend(.nft)
        case .legacy: IPTablesBackend(.legacy, lockFile: lockFile)
        }
    }
}
