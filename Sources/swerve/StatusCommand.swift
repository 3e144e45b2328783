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
            var (records, problems) = engine.list()
            // What was begun and has no record yet has its intention.
            let known = Set(records.map(\.id))
            for id in try engine.store.ids() where !known.contains(id) {
                if let begun = try? engine.store.pending(id) { records.append(begun.record) }
            }
            let chosen = records.filter { id == nil || $0.id == id }
            if let id, chosen.isEmpty {
                // A file of that name that cannot be read says more than that there is none.
                _ = try engine.store.record(of: id)
                throw EngineError.unknown(id, known: records.map(\.id))
            }
            var views: [WorkloadView] = []
            for record in chosen { views.append(await WorkloadView(record, of: engine)) }
            if json { try Console.say(json: views) } else { Self.show(views, of: id) }
            for problem in problems where id == nil { Console.complain("swerve: \(problem)") }
            if id == nil, !problems.isEmpty { throw ExitCode.failure }
        }
    }

    private static func show(_ views: [WorkloadView], of id: String?) {
        if id != nil {
            views.forEach { $0.show() }
            return
        }
        guard !views.isEmpty else { return Console.say("no workload is on record") }
        var table = Table(["workload", "mode", "mechanism", "retiring", "drift", "reason"])
        for view in views {
            table.add([
                view.id, view.mode, view.mechanism?.rawValue ?? "none",
                view.retiring.isEmpty
                    ? "-" : view.retiring.map(\.rawValue).joined(separator: " "),
                view.state, view.reason,
            ])
        }
        Console.say(table.text)
    }
}

/// A workload, as `swerve status` tells of it.
struct WorkloadView: Encodable {
    let id: String
    let namespace: String
    let cgroup: String?
    let mode: String
    let mechanism: Mechanism?
    let reason: String
    /// Which of its ways the mechanism goes here, where it has several.
    let manner: String?
    /// What was passed over for the mechanism, and why.
    let passedOver: [PassedOver]
    /// What of others' decides before it.
    let others: [ForeignHook]
    /// The plan's fingerprint.
    let plan: String
    /// Mechanisms that stay for the sake of old connections.
    let retiring: [Mechanism]
    /// How the kernel differed at the last look.
    let drift: [String]
    /// How many differences have been found so far.
    let driftCounts: [DriftCount]
    /// Whether its namespace and cgroup are there; `nil` where nobody looked.
    var isThere: Bool?
    /// Whether something was begun and not finished.
    var isUnfinished: Bool?

    init(_ record: WorkloadRecord) {
        id = record.id
        namespace = record.place.namespace
        cgroup = record.place.cgroup
        mode = record.mode.rawValue
        mechanism = record.mechanism
        reason = record.reason
        manner = record.choice?.manner
        passedOver = record.choice?.passedOver ?? []
        others = record.choice?.others ?? []
        plan = "\(record.plan.fingerprint)"
        retiring = record.retiring
        drift = record.drift.map { "\($0)" }
        driftCounts = record.driftCounts
    }

    init(_ record: WorkloadRecord, of engine: Engine) async {
        self.init(record)
        isThere = try? await engine.isThere(record)
        isUnfinished = ((try? engine.store.pending(record.id)) ?? nil) != nil
    }

    /// The last look, in a word or two.
    var state: String {
        if isThere == false { return "gone" }
        if isUnfinished == true { return "unfinished" }
        let total = driftCounts.map(\.count).reduce(0, +)
        if !drift.isEmpty { return "\(drift.count) now, \(total) so far" }
        return total == 0 ? "-" : "repaired, \(total) so far"
    }

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
