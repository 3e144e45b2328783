// SPDX-License-Identifier: Apache-2.0

import AgentTestSupport
import Foundation
import KernelTestSupport
import LinuxKernel
import OrderedJSON
import RedirectionEngine
import RedirectionModel
import Synchronization
import Testing

/// Many pods that come and go in any order, by the plugin, and what that leaves: nothing.
///
/// How many: `SWERVE_PODS`, or few enough for every run of the tests.
@Suite(.requiresKernel, .serialized) struct ChurnTests {
    private static var count: Int {
        let wish = ProcessInfo.processInfo.environment["SWERVE_PODS"].flatMap { Int($0) } ?? 25
        return min(max(wish, 1), 250)
    }

    @Test(.timeLimit(.minutes(60)))
    func `pods come and go in random order while agents are killed, and nothing is left`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with { node in
                _ = try OpenFiles.raiseLimit()
                let before = try Leavings(of: node)
                let crowd = try Crowd(node, Self.count)
                let agents = KilledAgents(node)
                try await agents.during {
                    // However fast this machine is, until agents have been killed by it.
                    for _ in 0..<50 {
                        try await crowd.come()
                        try await crowd.go(keeping: Self.count / 2)
                        try await crowd.come()
                        if agents.killed > 2 { break }
                    }
                }
                print("\(Self.count) pods, \(agents.killed) agents killed")
                #expect(agents.killed > 2)
                let agent = try await agents.start()
                for pod in crowd.present { try pod.expect(redirected: true) }
                // Whose ADD was cut short is known until a look finds that its namespace is gone.
                try await waitUntil { try await crowd.known() == Set(crowd.names) }
                try await crowd.go(keeping: 0)
                try await waitUntil { try await crowd.known().isEmpty }
                try agent.stop()
                let difference = try Leavings(of: node).difference(from: before)
                #expect(difference == "", "\(difference)")
            }
        }
    }

    @Test(.timeLimit(.minutes(60)))
    func `an agent holds no more after many pods than after the first of them`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with { node in
                _ = try OpenFiles.raiseLimit()
                let crowd = try Crowd(node, Self.count)
                let agent = try await KilledAgents(node).start()
                var costs: [AgentCost] = []
                for _ in 0..<4 {
                    try await crowd.come()
                    try await crowd.go(keeping: 0)
                    try await waitUntil { try await crowd.known().isEmpty }
                    costs.append(try await AgentCost.settled(of: agent))
                }
                let text = costs.map { "\($0)" }.joined(separator: "; ")
                print("\(Self.count) pods at a time: \(text)")
                // The first ones bring what every agent has. A thread more may be idle, or a
                // file open, at any moment; what every pod left would be two for each by now.
                let slack = max(Self.count / 2, 8)
                #expect(costs[3].files < costs[1].files + slack, "\(text)")
                #expect(costs[3].threads < costs[1].threads + slack, "\(text)")
                let growth = costs[3].kibibytes - costs[1].kibibytes
                #expect(growth < 8 * Self.count + 1024, "\(text)")
                try agent.stop()
            }
        }
    }
}

/// What an agent holds.
private struct AgentCost: CustomStringConvertible {
    let files: Int
    let threads: Int
    let kibibytes: Int

    var description: String { "\(files) files, \(threads) threads, \(kibibytes) KiB" }

    private init(_ pid: Int32) throws {
        files = Directory(path: "/proc/\(pid)/fd").names().count
        let lines = try readFile("/proc/\(pid)/status").split(separator: "\n")
        func number(_ name: String) throws -> Int {
            let line = try #require(lines.first { $0.hasPrefix(name + ":") })
            return try #require(
                line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) })
        }
        threads = try number("Threads")
        kibibytes = try number("VmRSS")
    }

    /// The same once listeners to namespaces that are gone have ended.
    static func settled(of agent: LeashedProcess) async throws -> AgentCost {
        let pid = try #require(try agent.program)
        var last = try AgentCost(pid)
        var same = 0
        try await waitUntil {
            try await Task.sleep(for: .milliseconds(100))
            let now = try AgentCost(pid)
            same = now.files == last.files && now.threads == last.threads ? same + 1 : 0
            last = now
            return same >= 25
        }
        return last
    }
}

/// Agents that are started again and again, and killed at any instant.
private final class KilledAgents: Sendable {
    private let node: EngineNode
    private let count = Mutex(0)

    init(_ node: EngineNode) { self.node = node }

    var killed: Int { count.withLock(\.self) }

    /// Starts an agent; when this returns, it can be asked.
    func start() async throws -> LeashedProcess {
        let log = try OwnedDescriptor.open(node.directory + "/agent.log", .append)
        var birth = ChildProcess.Birth(
            [BuiltProgram.path("swerved"), "--period", "1"] + node.options)
        birth.output = log.rawValue
        birth.error = log.rawValue
        let agent = try LeashedProcess(birth)
        try await waitUntil { (try? UnixClient.connect(node.state + "/agent.sock")) != nil }
        return agent
    }

    /// Runs `body` while that goes on.
    func during(_ body: () async throws -> Void) async throws {
        let isOver = Mutex(false)
        async let killing: Void = kill { isOver.withLock(\.self) }
        do {
            try await body()
        } catch {
            isOver.withLock { $0 = true }
            try await killing
            throw error
        }
        isOver.withLock { $0 = true }
        try await killing
    }

    private func kill(until isOver: @Sendable () -> Bool) async throws {
        var pauses: [Int] = []
        while !isOver() {
            let agent = try await start()
            // Some in the middle of recovery, others when they have got something done.
            if pauses.isEmpty { pauses = [0, 500, 5000].shuffled() }
            try await Task.sleep(for: .milliseconds(pauses.removeLast()))
            try await Task.sleep(for: .milliseconds(Int.random(in: 0...500)))
            try agent.stop()
            count.withLock { $0 += 1 }
        }
    }
}

/// The pods, and how they come and go: some at a time, in an order that is drawn anew each time.
private final class Crowd: Sendable {
    private struct Member: Sendable {
        let pod: TestPod
        let container: String
    }

    private static let atOnce = 6

    private let plugins: PluginNode
    private let count: Int
    private let members = Mutex<[Int: Member]>([:])

    init(_ node: EngineNode, _ count: Int) throws {
        plugins = try PluginNode(node)
        self.count = count
    }

    var present: [TestPod] { members.withLock { $0.values.map(\.pod) } }
    var names: [String] { members.withLock { $0.values.map { $0.container + "@eth0" } } }

    /// Whom the agent knows.
    func known() async throws -> Set<String> {
        let json = try JSON(parsing: plugins.ask("GET", "/v1/pods").text)
        return Set((json["workloads"]?.elements ?? []).compactMap { $0["id"]?.text })
    }

    /// Adds every pod that is not there.
    func come() async throws {
        let missing = members.withLock { members in (0..<count).filter { members[$0] == nil } }
        try await each(missing) { number in
            let member = try self.add(number)
            self.members.withLock { $0[number] = member }
        }
    }

    /// Adds a pod as kubelet does: a failed attempt is deleted, and the next one has another id and
    /// another namespace.
    private func add(_ number: Int) throws -> Member {
        let mode = ["ebpf", "nft", "legacy"].randomElement() ?? "auto"
        var answer = ""
        for _ in 0..<600 {
            let pod = try TestPod.create("pod\(number)", number: UInt32(number + 1))
            let container = "c\(UInt64.random(in: 0 ... .max))"
            let add = try plugins.run("ADD", pod, container: container, ["swerve.dev/mode": mode])
            if add.status == 0 { return Member(pod: pod, container: container) }
            answer = add.output
            try delete(pod, container)
            Thread.sleep(forTimeInterval: 0.1)
        }
        throw Failure(what: "ADD", answer: answer)
    }

    private func delete(_ pod: TestPod, _ container: String) throws {
        var answer = ""
        for _ in 0..<600 {
            let plugin = try plugins.plugin("DEL", pod, container)
            let delete =
                try Bool.random()
                ? plugin.run(plugins.input(pod))
                : plugin.with("CNI_NETNS", nil).run(plugins.input(pod, [:], ["prevResult": nil]))
            if delete.status == 0 { return }
            answer = delete.output
            Thread.sleep(forTimeInterval: 0.1)
        }
        throw Failure(what: "DEL", answer: answer)
    }

    private struct Failure: Error {
        let what: String
        let answer: String
    }

    /// Deletes pods, their namespaces too, until so many are left.
    func go(keeping rest: Int) async throws {
        let leaving = members.withLock { Array($0.keys.shuffled().dropFirst(rest)) }
        try await each(leaving) { number in
            guard let member = self.members.withLock({ $0.removeValue(forKey: number) })
            else { return }
            try self.delete(member.pod, member.container)
        }
    }

    private func each(
        _ numbers: [Int], _ body: @escaping @Sendable (Int) throws -> Void
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            var rest = numbers.shuffled()[...]
            for number in rest.prefix(Self.atOnce) {
                group.addTask { try await onThread { try body(number) } }
            }
            rest = rest.dropFirst(Self.atOnce)
            while try await group.next() != nil {
                guard let number = rest.popFirst() else { continue }
                group.addTask { try await onThread { try body(number) } }
            }
        }
    }
}
