// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Backends
internal import CommandOptions
internal import LinuxKernel
internal import RedirectionEngine

struct CleanupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cleanup",
        abstract: "Remove everything that swerve ever made on this node, and prove it.",
        discussion: """
            Every workload on record, and then whatever is ours by its marks in any namespace that \
            can be reached, on cgroups and in bpffs, whoever made it. Looks again afterwards, and \
            fails (1) when something is left. Other people's rules stay as they are.
            """)

    @Flag(help: "Show what there is, and remove nothing.")
    var dryRun = false

    @Option(help: "Look into this namespace alone; repeat it (default: all that can be reached).")
    var netns: [String] = []

    @OptionGroup var node: NodeOptions

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let command = self
        try runInterruptibly { try await command.cleanUp() }
    }

    private func cleanUp() async throws {
        let engine = try node.engine()
        let scope = CleanupScope(try namespaces(), on: try node.node())
        let sweepers = Backends.sweepers(pins: try node.node().pins)
        var report = CleanupReport(
            workloads: try engine.store.ids(),
            found: await engine.findRemains(in: scope, sweepers), isDryRun: dryRun)
        if !dryRun {
            let lock = try takeCharge(engine)
            report.failures += await engine.cleanUp(scope, sweepers)
            report.left = await engine.findRemains(in: scope, sweepers).remains
            report.failures += try engine.store.ids().map { "\($0): its record is still there" }
            withExtendedLifetime(lock) {}
        }
        if json { try Console.say(json: report) } else { report.show() }
        guard report.left.isEmpty, report.failures.isEmpty else { throw ExitCode.failure }
    }

    private func namespaces() throws -> [ReachableNamespaces.Found] {
        guard !netns.isEmpty else { return try ReachableNamespaces.all() }
        return try netns.map { path in
            ReachableNamespaces.Found(path: path, namespace: try .named(path))
        }
    }

    /// An agent would repair what this removes.
    private func takeCharge(_ engine: Engine) throws -> FileLock? {
        guard try !engine.store.directory.contents().isEmpty else {
            return nil
        }
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
    var failures: [String]

    init(workloads: [String], found: Findings, isDryRun: Bool) {
        self.workloads = workloads
        self.found = found.remains
        self.isDryRun = isDryRun
        failures = isDryRun ? found.failures : []
    }

    func show() {
        let verb = isDryRun ? "would remove" : "removed"
        for id in workloads { Console.say("\(verb) workload \(id)") }
        for remain in found { Console.say("\(verb) \(remain.sentence)") }
        if workloads.isEmpty, found.isEmpty { Console.say("nothing of ours is on this node") }
        for remain in left { Console.complain("swerve: still there: \(remain.sentence)") }
        for failure in failures { Console.complain("swerve: \(failure)") }
    }
}

extension Remain {
    fileprivate var sentence: String { "\(what) (\(part) of \(mechanism)) in \(place)" }
}
