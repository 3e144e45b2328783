// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Backends
internal import CommandOptions
internal import RedirectionEngine
internal import RedirectionModel

struct NothingCounts: Error, CustomStringConvertible {
    let name: String
    var description: String { "\(name) is not redirected: it has nothing to count" }
}

struct CountersCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "counters",
        abstract: "Show how often each rule has decided in a workload.",
        discussion: "The reasons are those of `swerve explain`, whatever the mechanism.")

    @Argument(help: "The workload by its id (swerve status), or a pod of the lab that is up.")
    var pod: String

    @OptionGroup var node: NodeOptions

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let (name, node, json) = (pod, node, json)
        try runInterruptibly {
            let named = try NamedWorkload(name, on: node)
            guard let mechanism = named.mechanism else { throw NothingCounts(name: name) }
            let inspector = Backends.inspector(
                of: mechanism, below: named.cgroup, inbound: named.inbound)
            let counts = try await inspector.counters(in: named.workload).rows.map(Count.init)
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
