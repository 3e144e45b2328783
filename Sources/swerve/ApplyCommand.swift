// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Backends
internal import CommandOptions
internal import LinuxKernel
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

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard !policy.file.isEmpty || !policy.annotation.isEmpty else {
            throw ValidationError("say what to redirect: -f POLICY (docs/policy.md)")
        }
        guard netns != nil || cgroup != nil else {
            throw ValidationError("name a workload: --netns PATH, or --cgroup PATH")
        }
        for (name, path) in [("--netns", netns), ("--cgroup", cgroup)] {
            guard let path, !path.hasPrefix("/") else { continue }
            throw ValidationError("\(name) \(path): give a path that begins with /")
        }
    }

    func run() throws {
        let command = self
        try runInterruptibly(finishing: true) {
            let record = try await command.apply()
            if command.json {
                try Console.say(json: WorkloadReport(record))
            } else {
                let mechanism = record.mechanism.map { "redirected by \($0)" } ?? "not redirected"
                Console.say("\(record.id): \(mechanism) (\(record.reason))")
            }
        }
    }

    private func apply() async throws -> WorkloadRecord {
        let place = try place()
        var said = try policy.over(Policy())
        let mode = mode ?? said.mode ?? .auto
        // The plan is whole whatever the mode, so that another mode can be chosen later.
        said.mode = nil
        let own =
            try policy.address.isEmpty
            ? workload(at: place).namespace.addresses() : policy.address
        let plan = try said.resolved(ownAddresses: Set(own)).plan
        return try await node.engine().apply(plan, mode, to: place)
    }

    private func workload(at place: WorkloadPlace) throws -> Workload {
        place.workload(in: try NetworkNamespace.named(place.namespace))
    }

    private func place() throws -> WorkloadPlace {
        let id = try name ?? defaultName()
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

    func run() throws {
        let (id, node) = (id, node)
        try runInterruptibly(finishing: true) {
            try await node.engine().remove(id)
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

    func run() throws {
        let (id, mode, node) = (id, mode, node)
        try runInterruptibly(finishing: true) {
            let record = try await node.engine().setMode(mode, of: id)
            let mechanism = record.mechanism.map { "redirected by \($0)" } ?? "not redirected"
            Console.say("\(id): \(mechanism) (\(record.reason))")
        }
    }
}
