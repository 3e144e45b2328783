// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Lab
internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel

struct CountersCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "counters",
        abstract: "Show how often each rule has decided in a pod of the lab.",
        discussion: "The reasons are those of `swerve explain`, whatever the mechanism.")

    @Argument(help: "The pod: curl, ok-v1 or ok-v2.")
    var pod: String

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let (name, json) = (pod, json)
        try runInterruptibly {
            let lab = try LabState.require()
            let pod = try lab.pod(name)
            guard let mechanism = lab.mechanism else { throw LabError.notRedirected }
            let workload = try Workload(of: pod)
            let inspector = Backends.inspector(
                of: mechanism, below: Cgroup(path: pod.cgroup), inbound: lab.inbound)
            let counts = try await inspector.counters(in: workload).rows.map(Count.init)
            if json {
                try Console.say(json: counts)
                return
            }
            var table = Table(["direction", "reason", "connections"])
            for count in counts { table.add([count.direction, count.reason, "\(count.count)"]) }
            Console.say(table.text)
        }
    }

    /// A row of the table.
    private struct Count: Encodable {
        let direction: String
        let reason: String
        let count: UInt64

        init(_ row: (direction: Direction, reason: Reason, count: UInt64)) {
            direction = row.direction.rawValue
            reason = "\(row.reason)"
            count = row.count
        }
    }
}
