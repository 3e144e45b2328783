// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import Foundation
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// `swerved` beside the workloads it keeps.
@Suite(.requiresKernel, .serialized) struct AgentTests {
    private static func agent(
        _ node: EngineNode, _ options: [String] = ["--period", "0.1"]
    ) throws -> RunningProgram {
        let agent = try RunningProgram("swerved", node.options + options, joiningErrors: true)
        #expect(try agent.line(containing: "recovered") != nil)
        return agent
    }

    private static func installed(_ node: EngineNode) throws -> Bool {
        try StockTool.run("nft", "list", "tables", in: node.pod.namespace).output
            .contains("inet swerve")
    }

    private static func apply(_ node: EngineNode) throws {
        let result = try node.host(["apply", "nft", node.planFile(.own)])
        #expect(result.status == 0, "\(result.output)")
    }

    private static func flush(_ node: EngineNode) throws {
        let flush = try StockTool.run("nft", "flush", "ruleset", in: node.pod.namespace)
        #expect(flush.status == 0, "\(flush.output)")
    }

    private static func remove(_ node: EngineNode) throws {
        let result = try node.host(["remove"])
        #expect(result.status == 0, "\(result.output)")
    }

    private static func end(_ agent: RunningProgram) throws {
        try agent.terminate()
        #expect(try agent.finish() == 0)
    }

    /// Runs `body` on a node whose pod is redirected by nft.
    private static func onNode(_ body: (EngineNode) async throws -> Void) async throws {
        try await EngineNode.with { node in
            try apply(node)
            try await body(node)
            try remove(node)
        }
    }

    @Test(.timeLimit(.minutes(2)))
    func `rules that somebody flushed are back, and it is told`() async {
        await #expect(processExitsWith: .success) {
            try await Self.onNode { node in
                let agent = try Self.agent(node)
                try Self.flush(node)
                #expect(try agent.line(containing: "web: nft: ") != nil)
                #expect(try agent.line(containing: "web: nft repaired") != nil)
                #expect(try Self.installed(node))
                try Self.end(agent)
            }
        }
    }

    @Test(.timeLimit(.minutes(2)))
    func `what the kernel tells of is repaired before the period is over`() async {
        await #expect(processExitsWith: .success) {
            try await Self.onNode { node in
                // Longer than anybody here waits.
                let agent = try Self.agent(node, ["--period", "3600"])
                for _ in 0..<3 {
                    try Self.flush(node)
                    #expect(try agent.line(containing: "web: nft repaired") != nil)
                }
                #expect(try Self.installed(node))
                try Self.end(agent)
            }
        }
    }

    /// What somebody does to a part of it, and the kernel tells of.
    enum Deed: String, CaseIterable, Codable, Sendable {
        case insertsRule, deletesRules, deletesRoute, deletesQdisc

        var words: [String] {
            switch self {
            case .insertsRule: ["nft", "insert", "rule", "inet", "swerve", "outbound", "accept"]
            case .deletesRules: ["nft", "flush", "chain", "inet", "swerve", "output"]
            case .deletesRoute: ["ip", "route", "flush", "table", "133"]
            case .deletesQdisc: ["tc", "qdisc", "del", "dev", "eth0", "clsact"]
            }
        }

        var mechanism: Mechanism { self == .deletesQdisc ? .ebpf : .nft }
        var plan: EngineNode.PlanName { self == .deletesRoute ? .transparent : .own }
        /// Below it, inbound goes by tc.
        var ceiling: KernelVersion? { self == .deletesQdisc ? KernelVersion(5, 4) : nil }
    }

    @Test(.timeLimit(.minutes(2)), arguments: Deed.allCases)
    func `so is a part of it`(_ deed: Deed) async {
        await #expect(processExitsWith: .success) { [deed] in
            try await EngineNode.with(below: deed.ceiling) { node in
                let apply = try node.host(
                    ["apply", "\(deed.mechanism)", node.planFile(deed.plan)])
                #expect(apply.status == 0, "\(apply.output)")
                // Longer than anybody here waits.
                let agent = try Self.agent(node, ["--period", "3600"])
                for _ in 0..<3 {
                    let result = try StockTool.run(deed.words, in: node.pod.namespace)
                    #expect(result.status == 0, "\(result.output)")
                    #expect(try agent.line(containing: "web: \(deed.mechanism) repaired") != nil)
                }
                try Self.end(agent)
                try Self.remove(node)
            }
        }
    }

    @Test(.timeLimit(.minutes(2)))
    func `a workload that a command applies is listened to at once`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with { node in
                // Longer than anybody here waits.
                let agent = try Self.agent(node, ["--period", "3600"])
                try Self.apply(node)
                try Self.flush(node)
                #expect(try agent.line(containing: "web: nft repaired") != nil)
                #expect(try Self.installed(node))
                try Self.end(agent)
                try Self.remove(node)
            }
        }
    }

    @Test(.timeLimit(.minutes(2)))
    func `drift that is to be reported is reported, and left`() async {
        await #expect(processExitsWith: .success) {
            try await Self.onNode { node in
                let agent = try Self.agent(node, ["--period", "0.1", "--drift", "report"])
                try Self.flush(node)
                #expect(try agent.line(containing: "web: nft: ") != nil)
                try Self.end(agent)
                #expect(try !Self.installed(node))
            }
        }
    }

    @Test(.timeLimit(.minutes(2)))
    func `an agent that ends, in whatever way, leaves redirection as it is`() async {
        await #expect(processExitsWith: .success) {
            try await Self.onNode { node in
                let first = try Self.agent(node)
                try Self.end(first)
                #expect(try Self.installed(node))
                let second = try Self.agent(node)
                try second.kill()
                #expect(try Self.installed(node))
                // What is lost while there is no agent is there again once there is one.
                try Self.flush(node)
                let third = try Self.agent(node, ["--drift", "report"])
                #expect(try Self.installed(node))
                try Self.end(third)
            }
        }
    }

    @Test(.timeLimit(.minutes(2)))
    func `there is one agent a node, and commands work beside it`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with { node in
                let agent = try Self.agent(node)
                let second = try BuiltProgram.run(
                    "swerved", ["--state-dir", node.state, "--cgroup-root", node.cgroup.path])
                #expect(second.status == 1)
                #expect(second.output.contains("an agent runs on this node already"))
                try Self.apply(node)
                try Self.flush(node)
                #expect(try agent.line(containing: "web: nft repaired") != nil)
                try Self.remove(node)
                #expect(try !Self.installed(node))
                try Self.end(agent)
            }
        }
    }

    /// How often: `SWERVE_CYCLES`, or few enough for every run of the tests.
    private static var cycles: Int {
        ProcessInfo.processInfo.environment["SWERVE_CYCLES"].flatMap { Int($0) } ?? 5
    }

    @Test(.timeLimit(.minutes(30)), arguments: Mechanism.allCases)
    func `no connection notices that agents are killed`(_ mechanism: Mechanism) async {
        let result = await #expect(
            processExitsWith: .success, observing: [\.standardOutputContent]
        ) { [mechanism] in
            try await EngineNode.with { node in
                let apply = try node.host(["apply", "\(mechanism)", node.planFile(.own)])
                #expect(apply.status == 0, "\(apply.output)")
                let outcome = try await TrafficLoad(node.pod).run {
                    for _ in 0..<Self.cycles {
                        let agent = try Self.agent(node)
                        try await Task.sleep(for: .milliseconds(Int.random(in: 0...200)))
                        try agent.kill()
                    }
                }
                print("\(mechanism), \(Self.cycles) agents killed\n\(outcome.summary)")
                Self.expectNoFault(outcome)
                try Self.remove(node)
            }
        }
        print(result?.output ?? "")
    }

    @Test(.timeLimit(.minutes(30)), arguments: [false, true])
    func `nor that they are killed at any instant, and nothing is left of them`(
        _ isOld: Bool
    ) async {
        let result = await #expect(
            processExitsWith: .success, observing: [\.standardOutputContent]
        ) { [isOld] in
            try await EngineNode.with(below: isOld ? KernelVersion(5, 4) : nil) { node in
                let before = try Leavings(of: node)
                let apply = try node.host(["apply", "ebpf", node.planFile(.own)])
                #expect(apply.status == 0, "\(apply.output)")
                let outcome = try await TrafficLoad(node.pod).run {
                    for _ in 0..<Self.cycles { try await Self.killSometime(node) }
                    try await Self.switchThrough(node)
                }
                print("\(Self.cycles) agents killed at any instant\n\(outcome.summary)")
                Self.expectNoFault(outcome)
                try Self.remove(node)
                let after = try Leavings(of: node)
                #expect(after == before, "\(after.difference(from: before))")
            }
        }
        print(result?.output ?? "")
    }

    private static func expectNoFault(_ outcome: TrafficLoad.Outcome) {
        #expect(outcome.faults.isEmpty, "\(outcome.summary) \(outcome.faults)")
        for direction in Direction.allCases {
            #expect(outcome.blocks[direction, default: 0] > 100)
            #expect(outcome.probes[direction, default: 0] > 10)
        }
    }

    private static func request(for mode: Mechanism) -> TestRequest {
        TestRequest("PATCH", "/v1/pods/web", #"{"mode": "\#(mode)"}"#)
    }

    /// Kills an agent soon after its birth, before it has recovered or not, or while it switches.
    private static func killSometime(_ node: EngineNode) async throws {
        if Bool.random() {
            let agent = try RunningProgram(
                "swerved", node.options + ["--period", "0.1"], joiningErrors: true)
            try await Task.sleep(for: .milliseconds(Int.random(in: 0...150)))
            return try agent.kill()
        }
        let agent = try Self.agent(node)
        let request = Self.request(for: Mechanism.allCases.randomElement() ?? .nft)
        let socket = node.state + "/agent.sock"
        let asking = Task {
            // Whether there is an answer is left to chance, so its want is no issue.
            try? await onThread {
                let client = try UnixClient.connect(socket)
                try client.send(request.text)
                _ = try client.receiveAll()
            }
        }
        try await Task.sleep(for: .milliseconds(Int.random(in: 0...120)))
        try agent.kill()
        _ = await asking.value
    }

    /// One more agent, which is asked for every mechanism, and lives to its end.
    private static func switchThrough(_ node: EngineNode) async throws {
        let agent = try Self.agent(node)
        let socket = node.state + "/agent.sock"
        for mode in [Mechanism.ebpf, .nft, .legacy] {
            let request = Self.request(for: mode)
            let reply = try await onThread { try request.ask(socket) }
            #expect(reply.status == 200, "\(mode): \(reply.text)")
        }
        try Self.end(agent)
    }

    @Test func `what the daemon is told wrongly is named`() throws {
        let cases: [([String], String)] = [
            (["--period", "0"], "--period 0"), (["--drift", "ignore"], "'ignore'"),
            (["--state-dir", "run"], "--state-dir run"),
            (["--cgroup-root", "/nonexistent"], "--cgroup-root /nonexistent"),
        ]
        for (options, says) in cases {
            let result = try BuiltProgram.run("swerved", options)
            #expect(result.status == 2, "\(result)")
            #expect(result.output.contains(says), "\(result)")
        }
    }
}
