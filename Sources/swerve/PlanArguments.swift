// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import EBPFBackend
internal import FoundationEssentials
internal import Lab
internal import LinuxKernel
internal import PolicyFile
internal import RedirectionEngine
internal import RedirectionModel
internal import SystemPackage

extension IPAddress: ExpressibleByArgument {
    package init?(argument: String) { self.init(argument) }
}

/// `key=value`, as kubectl(1) takes annotations.
struct AnnotationArgument: ExpressibleByArgument {
    let key: String
    let value: String

    init?(argument: String) {
        guard let equals = argument.firstIndex(of: "="), equals > argument.startIndex else {
            return nil
        }
        key = String(argument[..<equals])
        value = String(argument[argument.index(after: equals)...])
    }
}

/// Whose plan, in options: that of a policy, and of a workload it is for.
struct PlanArguments: ParsableArguments {
    @Argument(
        help: "A pod of the lab that is up: its addresses, and its policy if no file is given.")
    var pod: String?

    @Option(
        name: [.short, .customLong("file")],
        help: """
            A policy file (docs/policy.md), in place of the lab's; repeat it for layers, the \
            nearest to the pod last.
            """)
    var file: [String] = []

    @Option(
        help: ArgumentHelp("An annotation of the pod; repeat it.", valueName: "key=value"))
    var annotation: [AnnotationArgument] = []

    @Option(help: "An address of the workload, repeat it (default: those it has).")
    var address: [IPAddress] = []

    @Option(help: "The workload's network namespace, such as /run/netns/web.")
    var netns: String?

    func validate() throws {
        if pod != nil, netns != nil {
            throw ValidationError("\(pod ?? "") and --netns name two workloads; name one")
        }
    }

    /// A plan, and the workload it is for where one was named.
    struct Resolved {
        let policy: ResolvedPolicy
        let workload: Workload?
        /// The workload's own cgroup, where it is known.
        let cgroup: Cgroup?
        /// How eBPF takes inbound connections: as in the lab, or the best way of this kernel.
        let inbound: InboundMethod
        let ownAddresses: Set<IPAddress>

        var plan: RedirectionPlan { policy.plan }

        func inspector(of mechanism: Mechanism) -> any PlanInspector {
            Backends.inspector(of: mechanism, below: cgroup, inbound: inbound)
        }
    }

    func resolve() throws -> Resolved {
        let lab = try pod.map { _ in try LabState.require() }
        let labPod = try pod.flatMap { try lab?.pod($0) }
        let workload = try labPod.map(Workload.init(of:)) ?? netns.map(Workload.init(at:))
        // A file stands in for the lab's policy: what was taken out of it must show.
        var policy = file.isEmpty ? try lab?.readPolicy() ?? Policy() : Policy()
        for file in file { policy = policy.overlaid(by: try readPolicy(file)) }
        policy = policy.overlaid(by: try annotations(under: policy.preset ?? .fsm))
        let own = try Set(
            address.isEmpty ? labPod?.addresses ?? workload?.addresses() ?? [] : address)
        return Resolved(
            policy: try policy.resolved(ownAddresses: own), workload: workload,
            cgroup: labPod.map { Cgroup(path: $0.cgroup) }, inbound: lab?.inbound ?? .preferred,
            ownAddresses: own)
    }

    private func annotations(under preset: Preset.Name) throws(PolicyErrors) -> Policy {
        let pairs = Dictionary(annotation.map { ($0.key, $0.value) }) { $1 }
        return try PolicyAnnotations.parse(pairs, of: "--annotation", preset: preset)
    }
}

/// Reads a policy file; `-` is standard input.
func readPolicy(_ path: String) throws -> Policy {
    let text = try readFile(path == "-" ? "/dev/stdin" : path)
    return try PolicyFile.parse(Array(text.utf8), named: path == "-" ? "standard input" : path)
}

extension Workload {
    /// A pod of the lab.
    init(of pod: LabState.Pod) throws(KernelError) {
        self.init(id: pod.name, namespace: try NetworkNamespace.open(pod.namespace))
    }

    /// What lives in the namespace that `path` opens.
    fileprivate init(at path: String) throws {
        let namespace = try NetworkNamespace.open(path)
        do throws(KernelError) {
            try namespace.run {}
        } catch {
            // EINVAL of setns(2): a file, but no namespace of this kind.
            guard error.errno == .invalidArgument else { throw error }
            throw ValidationError(
                "--netns \(path): not a network namespace; give one such as /run/netns/NAME "
                    + "or /proc/PID/ns/net")
        }
        self.init(id: path, namespace: namespace)
    }

    /// The addresses of its interfaces, loopback's not among them.
    fileprivate func addresses() throws(KernelError) -> [IPAddress] {
        var links = try RouteNetlink.open(in: namespace)
        return try links.addresses().map(\.address).filter { !$0.isLoopback }
    }
}
