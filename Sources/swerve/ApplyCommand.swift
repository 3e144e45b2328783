// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Backends
internal import CommandOptions
internal import LinuxKernel
internal import OrderedJSON
internal import PolicyFile
internal import RedirectionEngine
internal import RedirectionModel

extension NodeOptions {
    /// The engine of the node, for one command; what happens to workloads goes to standard error.
    func engine() throws -> Engine {
        let node = try node()
        return Engine(
            state: node.state, NodeMechanisms(node),
            hooks: Engine.Hooks(event: { event in
                switch event.kind {
                case .applied, .removed: break
                default: Console.complain("  ... \(event)")
                }
            }))
    }
}

struct ApplyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply",
        abstract: "Redirect a workload as a policy says, or change how it is redirected.",
        discussion: """
            New connections follow the new plan from one instant to the next, established ones \
            live to their end. When this fails, what was there before is there; where that fails, \
            too, the reason says so, and the next change goes on with it. Examples:

              swerve apply -f policy.yaml --netns /run/netns/web
              swerve apply -f policy.yaml --netns /proc/812/ns/net --name web --mode nft
              swerve apply -f policy.yaml --cgroup /sys/fs/cgroup/system.slice/web.service
              swerve apply -f workloads.yaml

            An agent that listens does it, as what it does can be followed there; without one, or \
            with --standalone, the command does.
            """)

    @OptionGroup var policy: PolicyArguments

    @Option(help: "The workload's network namespace, such as /run/netns/web.")
    var netns: String?

    @Option(
        help: """
            The workload's cgroup; without --netns, its processes in this namespace are the \
            workload.
            """)
    var cgroup: String?

    @Option(help: "What to call the workload (default: the last part of its path).")
    var name: String?

    @Option(
        help: "auto, ebpf, iptables, nft, legacy or none (default: what the policy says, or auto).")
    var mode: PolicyMode?

    @OptionGroup var node: NodeOptions
    @OptionGroup var agent: AgentOptions

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard !policy.file.isEmpty || !policy.annotation.isEmpty else {
            throw ValidationError("say what to redirect: -f POLICY (docs/policy.md)")
        }
        for (name, path) in [("--netns", netns), ("--cgroup", cgroup)] {
            guard let path, !path.hasPrefix("/") else { continue }
            throw ValidationError("\(name) \(path): give a path that begins with /")
        }
    }

    func run() throws {
        let command = self
        try runInterruptibly(finishing: true) {
            if let workloads = try command.workloads() {
                return try await command.apply(workloads)
            }
            guard command.netns != nil || command.cgroup != nil else {
                throw ValidationError("name a workload: --netns PATH, or --cgroup PATH")
            }
            let report = try await command.apply(
                command.place(), try command.policy.over(Policy()))
            if command.json { try Console.say(json: report) } else { report.say() }
        }
    }

    /// The workloads of a file that has several; `nil` for a policy.
    private func workloads() throws -> [WorkloadsFile.Entry]? {
        guard policy.file.count == 1, let file = policy.file.first, file != "-",
            netns == nil, cgroup == nil
        else { return nil }
        let bytes = Array(try readFile(file).utf8)
        guard try WorkloadsFile.isOne(bytes, named: file) else { return nil }
        guard name == nil, policy.annotation.isEmpty, policy.address.isEmpty else {
            throw ValidationError(
                "\(file) has workloads of its own: say in it what --name, --annotation and "
                    + "--address would")
        }
        return try WorkloadsFile.parse(bytes, named: file)
    }

    /// Applies all that can be applied.
    private func apply(_ workloads: [WorkloadsFile.Entry]) async throws {
        var reports: [WorkloadReport] = []
        for workload in workloads {
            do {
                let place = try Self.place(workload.name, workload.netns, workload.cgroup)
                let report = try await apply(place, workload.policy)
                reports.append(report)
                if !json { report.say() }
            } catch {
                Console.complain("swerve: \(workload.name): \(error)")
            }
        }
        if json { try Console.say(json: reports) }
        if reports.count < workloads.count { throw ExitCode.failure }
    }

    private func apply(
        _ place: WorkloadPlace, _ policy: Policy
    ) async throws -> WorkloadReport {
        var said = policy
        let mode = mode ?? said.mode ?? .auto
        // The plan is whole whatever the mode, so that another mode can be chosen later.
        said.mode = nil
        let own =
            try self.policy.address.isEmpty
            ? workload(at: place).namespace.addresses() : self.policy.address
        // To be refused here, where what is said can be named with its place.
        let plan = try said.resolved(ownAddresses: Set(own)).plan
        if let agent = try agent.agent(of: node) {
            return try agent.apply(place.id, place.wish(said, mode, own))
        }
        return WorkloadReport(try await node.engine().apply(plan, mode, to: place))
    }

    private func workload(at place: WorkloadPlace) throws -> Workload {
        place.workload(in: try NetworkNamespace.named(place.namespace))
    }

    private func place() throws -> WorkloadPlace {
        try Self.place(try name ?? defaultName(), netns, cgroup)
    }

    private static func place(
        _ id: Workload.ID, _ netns: String?, _ cgroup: String?
    ) throws -> WorkloadPlace {
        do throws(StateError) {
            try StateStore.check(id)
        } catch {
            throw ValidationError("--name \(id): \(error)")
        }
        if let cgroup, netns == nil { return WorkloadPlace(id: id, cgroup: cgroup) }
        return WorkloadPlace(id: id, namespace: netns ?? "", cgroup: cgroup)
    }

    private func defaultName() throws -> String {
        let path = netns ?? cgroup ?? ""
        guard !path.hasPrefix("/proc/"), let last = path.split(separator: "/").last else {
            throw ValidationError("\(path) gives the workload no name: say --name")
        }
        return String(last)
    }
}

struct RemoveCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove",
        abstract: "Stop redirecting a workload, and forget it.",
        discussion: "Connections that a sidecar holds may end with it; `swerve mode ID none` keeps "
            + "them.")

    @Argument(help: "The workload's id, as in swerve status.")
    var id: String

    @OptionGroup var node: NodeOptions
    @OptionGroup var agent: AgentOptions

    func run() throws {
        let (id, node, agent) = (id, node, agent)
        try runInterruptibly(finishing: true) {
            if let agent = try agent.agent(of: node) {
                try agent.remove(id)
            } else {
                try await node.engine().remove(id)
            }
            Console.say("\(id): removed")
        }
    }
}

struct ModeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mode",
        abstract: "Change which mechanism redirects a workload, under live traffic.",
        discussion: """
            The new mechanism works before the old one retires; established connections live to \
            their end. A mode that cannot be had here is an error, and changes nothing.
            """)

    @Argument(help: "The workload's id, as in swerve status.")
    var id: String

    @Argument(help: "auto, ebpf, iptables, nft, legacy or none.")
    var mode: PolicyMode

    @OptionGroup var node: NodeOptions
    @OptionGroup var agent: AgentOptions

    func run() throws {
        let (id, mode, node, agent) = (id, mode, node, agent)
        try runInterruptibly(finishing: true) {
            if let agent = try agent.agent(of: node) {
                return try agent.setMode(mode.rawValue, of: id).say()
            }
            WorkloadReport(try await node.engine().setMode(mode, of: id)).say()
        }
    }
}

extension WorkloadReport {
    /// What became of it, in a line.
    fileprivate func say() {
        let mechanism = mechanism.map { "redirected by \($0)" } ?? "not redirected"
        Console.say("\(id): \(mechanism) (\(reason))")
    }
}

extension WorkloadPlace {
    /// The same to be asked of the agent.
    fileprivate func wish(_ policy: Policy, _ mode: PolicyMode, _ addresses: [IPAddress]) -> JSON {
        JSON(members: [
            "namespace": scope == .cgroup ? nil : .string(namespace),
            "cgroup": cgroup.map(JSON.string), "policy": .string(PolicyFile.render(policy)),
            "mode": .string(mode.rawValue),
            "addresses": .array(addresses.map { .string("\($0)") }),
        ])
    }
}
