// SPDX-License-Identifier: Apache-2.0

internal import Backends
internal import FoundationEssentials
package import LinuxKernel
internal import PolicyFile
package import RedirectionEngine
internal import RedirectionModel
internal import SystemPackage

/// Two nodes, their pods, and a sidecar in every pod, on one machine.
///
/// Everything but the guard's remains is held by descriptors and processes of this process and
/// its children, so there is no way to end it that leaves something behind.
package final class Lab: Sendable {
    package let state: LabState
    /// The namespaces by pod, for tests that look inside.
    package let namespaces: [String: NetworkNamespace]
    /// The nodes' agents: each node's own backend, none when redirection is off.
    package let backends: [String: any RedirectionBackend]
    private let network: LabNetwork

    fileprivate init(
        state: LabState, network: LabNetwork, backends: [String: any RedirectionBackend]
    ) {
        self.state = state
        self.network = network
        self.backends = backends
        namespaces = network.pods
    }

    /// Builds a lab, runs `body` in it, and takes it down: when this returns, or throws, or the
    /// task is canceled, nothing of the lab is left.
    package static func with<Value>(
        _ configuration: LabConfiguration,
        progress: @Sendable (String) -> Void = { _ in },
        _ body: (Lab) async throws -> Value
    ) async throws -> Value {
        let processes = LabProcesses()
        defer { processes.reap() }
        return try await guarded(configuration.purpose, by: configuration.executable) {
            identity in
            let builder = try LabBuilder(configuration, identity, processes)
            return try await body(builder.build(progress))
        }
    }

    /// Runs `body` with a cgroup and a directory that are removed, and all processes in them ended,
    /// when it returns, throws or is canceled, or this process is killed: by `executable`, `swerve`.
    package static func guarded<Value>(
        _ purpose: LabIdentity.Purpose, by executable: String,
        _ body: (LabIdentity) async throws -> Value
    ) async throws -> Value {
        try checkRequirements()
        let identity = try LabIdentity.next(purpose)
        let guardian = LabGuard(identity, executable: executable)
        return try await withTaskCancellationHandler {
            do {
                try await LabClaim.make(for: identity) { try guardian.start() }
                let value = try await body(identity)
                try guardian.finish()
                return value
            } catch {
                throw guardian.finish(after: error)
            }
        } onCancel: {
            InterruptFailures.collect { () throws(LabError) in try guardian.finish() }
        }
    }

    private static func checkRequirements() throws(LabError) {
        do throws(KernelError) {
            _ = try Cgroup.root()
        } catch {
            throw .noCgroup2
        }
        do throws(KernelError) {
            _ = try NetworkNamespace.create()
        } catch {
            let isRefused = error.errno == .notPermitted || error.errno == .permissionDenied
            throw isRefused ? .notRoot : .unsupported("\(error)")
        }
        guard FileManager.default.fileExists(atPath: "/etc/hosts") else { throw .noHosts }
    }
}

/// The steps that make a lab, each relying on the one before.
private struct LabBuilder: Sendable {
    let configuration: LabConfiguration
    let identity: LabIdentity
    let processes: LabProcesses
    /// The sidecar of every pod, as the policy has it.
    let sidecar: Sidecar

    init(
        _ configuration: LabConfiguration, _ identity: LabIdentity, _ processes: LabProcesses
    ) throws {
        self.configuration = configuration
        self.identity = identity
        self.processes = processes
        let plan = try configuration.policy.resolved(ownAddresses: []).plan
        sidecar = plan.sidecar
        if configuration.wish != nil, configuration.sidecarCommand == nil, plan.isEnabled,
            plan.inboundMode != .redirect
        {
            throw LabError.sidecarCannot("take what comes in with its destination (transparent)")
        }
    }

    private var topology: LabTopology { configuration.topology }
    private var hosts: String { identity.directory + "/hosts" }
    private var records: String { identity.directory + "/records" }

    func build(_ progress: @Sendable (String) -> Void) async throws -> Lab {
        try OwnedDescriptor.open(hosts, .replace).write(topology.hosts)
        _ = try OwnedDescriptor.open(records, .replace)
        let choice: Choice? =
            if let wish = configuration.wish {
                try Backends.choose(
                    wish, for: try plan(of: topology.nodes.flatMap(\.pods)[0]),
                    inbound: configuration.inbound, below: configuration.ceiling)
            } else { nil }

        progress("building two nodes and \(topology.nodes.flatMap(\.pods).count) pods")
        let network = try LabNetwork.build(topology)
        try createCgroups()
        var backends: [String: any RedirectionBackend] = [:]
        if let choice {
            progress("redirecting by \(choice.mechanism)")
            backends = try await redirect(by: choice.mechanism, network)
        }

        progress("starting sidecars and applications")
        let sidecars = try startSidecars(network)
        let applications = try startApplications(network)
        for pod in topology.nodes.flatMap(\.pods) {
            for server in [sidecars[pod.name], applications[pod.name]].compactMap(\.self) {
                try processes.waitUntilListening(server, within: .seconds(15))
            }
        }

        let state = try describe(choice, network, sidecars, applications)
        try state.publish(in: identity.directory)
        return Lab(state: state, network: network, backends: backends)
    }

    private func cgroup(_ node: LabTopology.Node) throws(KernelError) -> Cgroup {
        try identity.cgroup().child(node.name)
    }

    private func createCgroups() throws(KernelError) {
        for node in topology.nodes {
            try cgroup(node).create()
            for pod in node.pods { try cgroup(node).child(pod.name).create() }
        }
    }

    /// Before anything runs in the pods, as a CNI plugin does.
    private func redirect(
        by mechanism: Mechanism, _ network: LabNetwork
    ) async throws -> [String: any RedirectionBackend] {
        var backends: [String: any RedirectionBackend] = [:]
        for node in topology.nodes {
            let backend = try await Backends.make(
                mechanism, on: try cgroup(node), inbound: configuration.inbound,
                below: configuration.ceiling, lockFile: identity.directory + "/xtables.lock")
            backends[node.name] = backend
            for pod in node.pods {
                guard let namespace = network.pods[pod.name] else { continue }
                let workload = Workload(
                    id: pod.name, namespace: namespace, cgroup: try cgroup(node).child(pod.name))
                try await backend.apply(try plan(of: pod), to: workload)
            }
        }
        return backends
    }

    private func plan(of pod: LabTopology.Pod) throws(PolicyConflicts) -> RedirectionPlan {
        try configuration.policy.resolved(ownAddresses: Set(pod.addresses)).plan
    }

    private func startSidecars(
        _ network: LabNetwork
    ) throws -> [String: LabProcesses.Server] {
        try servers(network) { pod, birth in
            birth.arguments = configuration.sidecarArguments(in: pod.name, as: sidecar)
            birth.environment += configuration.sidecarEnvironment(in: pod.name, as: sidecar)
            if configuration.sidecarCommand != nil {
                birth.owner = LabConfiguration.owner(of: sidecar)
            }
            let isOurs = configuration.sidecarCommand == nil
            return ("sidecar", isOurs, [sidecar.outboundPort, sidecar.inboundPort])
        }
    }

    private func startApplications(
        _ network: LabNetwork
    ) throws -> [String: LabProcesses.Server] {
        try servers(network) { pod, birth in
            guard let greeting = pod.greeting else { return nil }
            let port = LabTopology.applicationPort
            birth.arguments = [
                configuration.executable, "ok", "--name", greeting, "--pod", pod.name, "--port",
                "\(port)",
            ]
            return ("application", true, [port])
        }
    }

    /// Starts what `describe` says in every pod it says it for: the kind of server, whether its
    /// standard output is the record, its ports.
    private func servers(
        _ network: LabNetwork,
        _ describe: (LabTopology.Pod, inout ChildProcess.Birth) -> (String, Bool, [UInt16])?
    ) throws -> [String: LabProcesses.Server] {
        var servers: [String: LabProcesses.Server] = [:]
        for node in topology.nodes {
            for pod in node.pods {
                let record = try OwnedDescriptor.open(records, .append)
                var birth = ChildProcess.Birth([])
                birth.cgroup = try cgroup(node).child(pod.name)
                birth.hosts = hosts
                guard let namespace = network.pods[pod.name],
                    let (kind, writesRecords, ports) = describe(pod, &birth)
                else { continue }
                if writesRecords { birth.output = record.rawValue }
                servers[pod.name] = try processes.start(
                    "the \(kind) of \(pod.name)", birth, in: namespace,
                    log: "\(identity.directory)/\(pod.name).\(kind).log", listeningOn: ports)
            }
        }
        return servers
    }

    private func describe(
        _ choice: Choice?, _ network: LabNetwork, _ sidecars: [String: LabProcesses.Server],
        _ applications: [String: LabProcesses.Server]
    ) throws -> LabState {
        var pods: [LabState.Pod] = []
        for node in topology.nodes {
            for pod in node.pods {
                let descriptor = network.pods[pod.name]?.rawDescriptor ?? -1
                pods.append(
                    LabState.Pod(
                        name: pod.name, node: node.name, addresses: pod.addresses,
                        greeting: pod.greeting, cgroup: try cgroup(node).child(pod.name).path,
                        namespace: "/proc/\(identity.owner.pid)/fd/\(descriptor)",
                        sidecar: sidecars[pod.name]?.identity,
                        application: applications[pod.name]?.identity))
            }
        }
        return LabState(
            name: "\(identity)", owner: identity.owner, mechanism: choice?.mechanism,
            reason: choice?.reason ?? "redirection is off", inbound: configuration.inbound,
            sidecarCommand: configuration.sidecarCommand,
            policy: PolicyFile.render(configuration.policy), cgroup: try identity.cgroup().path,
            hosts: hosts, records: records, pods: pods)
    }
}
