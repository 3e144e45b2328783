// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Backends
internal import CommandOptions
internal import LinuxKernel
internal import RedirectionEngine

struct CleanupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cleanup",
        abstract: "Remove all redirection that swerve ever made on this node, and prove it.",
        discussion: """
            Every workload on record, and then whatever is ours by its marks in any namespace that \
            can be reached, on cgroups and in bpffs, whoever made it. Looks again afterwards, and \
            fails (1) when something is left, or could not be looked at. Other people's rules stay \
            as they are; so do the lock files in --state-dir, a lab (`swerve lab down`), and the \
            CNI plugin's entry in a node's network configuration.
            """)

    @Flag(help: "Show what there is, and remove nothing.")
    var dryRun = false

    @Option(help: "Look into this namespace alone; repeat it (default: all that can be reached).")
    var netns: [String] = []

    @Flag(help: "Remove what a newer version has left, too, as far as this one knows it.")
    var force = false

    @OptionGroup var node: NodeOptions

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let command = self
        try runInterruptibly(finishing: !dryRun) { try await command.cleanUp() }
    }

    private func cleanUp() async throws {
        try node.requireRoot()
        let engine = try node.engine()
        let (namespaces, denied) = try namespaces()
        let scope = CleanupScope(namespaces, on: try node.node())
        let sweepers = Backends.sweepers(pins: try node.node().pins)
        var report = CleanupReport(
            workloads: try engine.store.ids(),
            found: await engine.findRemains(in: scope, sweepers), isDryRun: dryRun)
        if !dryRun {
            let lock = try takeCharge(engine)
            report.failures = await engine.cleanUp(scope, sweepers, isForced: force)
            // What could not be looked at the second time is not proved to be gone.
            let left = await engine.findRemains(in: scope, sweepers)
            report.left = left.remains
            report.failures += left.failures
            report.kept = try engine.store.ids()
            report.failures += report.kept.map { "\($0): its record is still there" }
            withExtendedLifetime(lock) {}
        }
        report.failures += denied.map { "\($0) cannot be opened: what is in there is not known" }
        if json { try Console.say(json: report) } else { report.show() }
        guard report.left.isEmpty, report.failures.isEmpty else { throw ExitCode.failure }
    }

    private func namespaces() throws -> (found: [ReachableNamespaces.Found], denied: [String]) {
        guard !netns.isEmpty else { return try ReachableNamespaces.survey() }
        let machines = try NetworkNamespace.machines()
        let found = try netns.map { path in
            let namespace = try NetworkNamespace.named(path)
            guard !machines.contains(namespace.inode) else {
                throw ValidationError(
                    "--netns \(path): this is the network namespace of the machine, which is never "
                        + "touched")
            }
            return ReachableNamespaces.Found(path: path, namespace: namespace)
        }
        return (found, [])
    }

    /// An agent would repair what this removes.
    private func takeCharge(_ engine: Engine) throws -> FileLock {
        try engine.store.prepare()
        guard let lock = try FileLock.tryTake(engine.store.agentLock) else {
            throw AgentIsRunning()
        }
        return lock
    }
}

struct AgentIsRunning: Error, CustomStringConvertible {
    var description: String {
        "an agent keeps this node's workloads redirected: stop swerved first, then clean up"
    }
}

/// What `swerve cleanup` tells.
struct CleanupReport: Encodable {
    let workloads: [String]
    let found: [Remain]
    let isDryRun: Bool
    var left: [Remain] = []
    /// Workloads that are on record still.
    var kept: [Workload.ID] = []
    var failures: [String]

    init(workloads: [String], found: Findings, isDryRun: Bool) {
        self.workloads = workloads
        self.found = found.remains
        self.isDryRun = isDryRun
        failures = found.failures
    }

    func show() {
        let verb = isDryRun ? "would remove" : "removed"
        for id in workloads where !kept.contains(id) {
            Console.say("\(verb) workload \(id)")
        }
        for remain in found where !left.contains(remain) {
            Console.say("\(verb) \(remain.sentence)")
        }
        if workloads.isEmpty, found.isEmpty, failures.isEmpty {
            Console.say("nothing of ours is on this node")
        }
        for remain in left { Console.complain("swerve: still there: \(remain.sentence)") }
        for failure in failures { Console.complain("swerve: \(failure)") }
    }
}

extension Remain {
    fileprivate var sentence: String { "\(what) (\(part) of \(mechanism)) in \(place)" }
}
