// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import CommandOptions
internal import RedirectionEngine
internal import RedirectionModel

struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show the node's workloads: what redirects each, why, and how it fares.",
        discussion: "Reads what is on record. Fails (1) when a record or a journal cannot be read.")

    @Argument(help: "One workload, by its id.")
    var id: String?

    @OptionGroup var node: NodeOptions

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let (id, node, json) = (id, node, json)
        try runInterruptibly {
            let engine = try node.engine()
            let (reports, problems) = try await engine.report()
            let chosen = reports.filter { id == nil || $0.id == id }
            if let id, chosen.isEmpty {
                // A file of that name that cannot be read says more than that there is none.
                _ = try engine.store.record(of: id)
                throw EngineError.unknown(id, known: reports.map(\.id))
            }
            if json { try Console.say(json: chosen) } else { Self.show(chosen, of: id) }
            for problem in problems where id == nil { Console.complain("swerve: \(problem)") }
            if id == nil, !problems.isEmpty { throw ExitCode.failure }
        }
    }

    private static func show(_ reports: [WorkloadReport], of id: String?) {
        if id != nil {
            reports.forEach { $0.show() }
            return
        }
        guard !reports.isEmpty else { return Console.say("no workload is on record") }
        var table = Table(["workload", "mode", "mechanism", "retiring", "drift", "reason"])
        for report in reports {
            table.add([
                report.id, report.mode, report.mechanism?.rawValue ?? "none",
                report.retiring.isEmpty
                    ? "-" : report.retiring.map(\.rawValue).joined(separator: " "),
                report.state, report.reason,
            ])
        }
        Console.say(table.text)
    }
}

extension WorkloadReport {
    func show() {
        Console.say("workload   \(id)")
        Console.say("namespace  \(namespace)" + (isThere == false ? " (gone)" : ""))
        if let cgroup { Console.say("cgroup     \(cgroup)") }
        Console.say("mode       \(mode)")
        Console.say("mechanism  \(mechanism?.rawValue ?? "none") (\(reason))")
        if let manner { Console.say("manner     \(manner)") }
        Console.say("plan       \(plan)")
        if !retiring.isEmpty {
            Console.say("retiring   \(retiring.map(\.rawValue).joined(separator: ", "))")
        }
        for hook in others { Console.say("others     \(hook)") }
        for difference in drift { Console.say("drift      \(difference)") }
        for count in driftCounts {
            Console.say("so far     \(count.mechanism) \(count.kind.rawValue): \(count.count)")
        }
        if isUnfinished == true { Console.say("unfinished, the next change goes on with it") }
    }
}
