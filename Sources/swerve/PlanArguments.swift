// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Backends
internal import CommandOptions
internal import EBPFBackend
internal import FoundationEssentials
internal import Lab
internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel
internal import SystemPackage

/// Whose plan, in options: that of a policy, and of a workload it is for.
struct PlanArguments: ParsableArguments {
    @Argument(
        help: """
            A workload by its id (swerve status), or a pod of the lab that is up: its addresses, \
            and its plan if no file is given.
            """)
    var pod: String?

    @OptionGroup var policy: PolicyArguments

    @Option(help: "The workload's network namespace, such as /run/netns/web.")
    var netns: String?

    @OptionGroup var node: NodeOptions

    func validate() throws {
        if pod != nil, netns != nil {
            throw ValidationError("\(pod ?? "") and --netns name two workloads; name one")
        }
    }

    /// A plan, and the workload it is for where one was named.
    struct Resolved {
        let plan: RedirectionPlan
        let workload: Workload?
        /// The workload's own cgroup, where it is known.
        let cgroup: Cgroup?
        /// How eBPF takes inbound connections: as in the lab, or the best way of this kernel.
        let inbound: InboundMethod
        let features: FeatureCeiling

        var ownAddresses: Set<IPAddress> { plan.ownAddresses }

        func inspector(of mechanism: Mechanism) -> any PlanInspector {
            Backends.inspector(
                of: mechanism, below: cgroup, inbound: inbound, below: features)
        }
    }

    func resolve() throws -> Resolved {
        let named = try pod.map { try NamedWorkload($0, on: node) }
        let workload = try named?.workload ?? netns.map(Workload.init(at:))
        let plan: RedirectionPlan
        if let recorded = named?.plan, policy.file.isEmpty, policy.annotation.isEmpty {
            plan = recorded
        } else {
            // A file stands in for the lab's policy: what was taken out of it must show.
            let said = try policy.over(policy.file.isEmpty ? named?.policy ?? Policy() : Policy())
            let own =
                try policy.address.isEmpty
                ? named?.addresses ?? workload?.namespace.addresses() ?? [] : policy.address
            plan = try said.resolved(ownAddresses: Set(own)).plan
        }
        return Resolved(
            plan: plan, workload: workload, cgroup: named?.cgroup,
            inbound: named?.inbound ?? .preferred(below: node.features.ceiling),
            features: node.features.ceiling)
    }
}

/// A workload that was named: one of the node's records, or a pod of the lab.
struct NamedWorkload {
    let workload: Workload
    /// What redirects it; `nil` for nothing.
    let mechanism: Mechanism?
    /// The plan on record.
    let plan: RedirectionPlan?
    /// What the lab's policy is.
    let policy: Policy?
    let addresses: [IPAddress]?
    /// Where to look for its BPF programs.
    let cgroup: Cgroup?
    let inbound: InboundMethod

    init(_ name: String, on options: NodeOptions) throws {
        let store = StateStore(options.stateDir)
        let isID = (try? StateStore.check(name)) != nil
        if isID, let record = try store.record(of: name) {
            workload = try record.place.open()
            mechanism = record.mechanism
            plan = record.plan
            (policy, addresses) = (nil, nil)
            inbound = .preferred(below: options.features.ceiling)
            cgroup = record.place.cgroup.map { Cgroup(path: $0) }
            return
        }
        guard let lab = try LabState.running() else {
            let known = try store.ids()
            throw known.isEmpty ? LabError.notUp : EngineError.unknown(name, known: known)
        }
        let pod = try lab.pod(name)
        workload = Workload(id: pod.name, namespace: try NetworkNamespace.open(pod.namespace))
        mechanism = lab.mechanism
        plan = nil
        policy = try lab.readPolicy()
        addresses = pod.addresses
        cgroup = Cgroup(path: pod.cgroup)
        inbound = lab.inbound
    }
}

extension Workload {
    /// What lives in the namespace that `path` opens.
    init(at path: String) throws {
        self.init(id: path, namespace: try NetworkNamespace.named(path))
    }
}

extension NetworkNamespace {
    /// The namespace that `--netns` names.
    static func named(_ path: String) throws -> NetworkNamespace {
        let namespace: NetworkNamespace
        do throws(KernelError) {
            namespace = try .open(path)
            try namespace.run {}
        } catch {
            // EINVAL of setns(2): a file, but no namespace of this kind.
            guard error.errno == .invalidArgument else { throw error }
            throw ValidationError(
                "--netns \(path): not a network namespace; give one such as /run/netns/NAME "
                    + "or /proc/PID/ns/net")
        }
        return namespace
    }
}
