// SPDX-License-Identifier: Apache-2.0

import Foundation
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import Testing

/// Processes that end at any instant, and those that come after them.
@Suite(.requiresKernel, .serialized) struct CrashTests {
    /// What a process is at when it is killed.
    struct Transition: Codable, Sendable, CustomTestStringConvertible {
        /// The mechanism before; `nil` for nothing.
        let from: Mechanism?
        /// What is done: the words of `EngineHost`.
        let action: Action

        enum Action: Codable, Hashable, Sendable {
            case apply(Mechanism)
            case plan(EngineNode.PlanName)
            case off
            case remove
        }

        var testDescription: String {
            "\(from.map { "\($0)" } ?? "none") to \(action)"
        }

        func start(_ node: EngineNode) -> [String] {
            from.map { ["apply", "\($0)", node.planFile(.own)] } ?? []
        }

        func words(_ node: EngineNode) -> [String] {
            switch action {
            case .apply(let mechanism): ["apply", "\(mechanism)", node.planFile(.own)]
            case .plan(let name): ["apply", from.map { "\($0)" } ?? "auto", node.planFile(name)]
            case .off: ["mode", "none"]
            case .remove: ["remove"]
            }
        }

        static let all: [Transition] =
            Self.mechanisms.map { Transition(from: nil, action: .apply($0)) }
            + Self.mechanisms.flatMap { old in
                Self.mechanisms.filter { $0 != old }.map {
                    Transition(from: old, action: .apply($0))
                }
            }
            + Self.mechanisms.flatMap { mechanism in
                [.plan(.other), .plan(.transparent), .off, .remove].map {
                    Transition(from: mechanism, action: $0)
                }
            }

        /// What is tried where programs are attached to the workload's own cgroup.
        static let attached: [Transition] = [
            Transition(from: nil, action: .apply(.ebpf)),
            Transition(from: .ebpf, action: .plan(.other)),
            Transition(from: .ebpf, action: .apply(.nft)),
            Transition(from: .nft, action: .apply(.ebpf)),
            Transition(from: .ebpf, action: .remove),
        ]

        static let mechanisms: [Mechanism] = [.ebpf, .nft, .legacy]

        /// What is on record before it.
        func old(_ node: EngineNode) -> HostReport? {
            from.map { HostReport($0, node.plan(.own)) }
        }

        /// What is on record after it.
        func new(_ node: EngineNode) -> HostReport? {
            switch action {
            case .apply(let mechanism): HostReport(mechanism, node.plan(.own))
            case .plan(let name): HostReport(from, node.plan(name))
            case .off: HostReport(nil, node.plan(.own))
            case .remove: nil
            }
        }
    }

    @Test(.timeLimit(.minutes(10)), arguments: Transition.all)
    func `whatever step a process is killed at, the next one converges`(
        _ transition: Transition
    ) async {
        await #expect(processExitsWith: .success) { [transition] in
            try await EngineNode.with { node in
                try await Self.killEverywhere(node, transition)
            }
        }
    }

    @Test(.timeLimit(.minutes(10)), arguments: Transition.attached)
    func `so it does where programs are attached to the workload's cgroup`(
        _ transition: Transition
    ) async {
        await #expect(processExitsWith: .success) { [transition] in
            try await EngineNode.with(below: KernelVersion(5, 4)) { node in
                try await Self.killEverywhere(node, transition)
            }
        }
    }

    private static func killEverywhere(
        _ node: EngineNode, _ transition: Transition
    ) async throws {
        let before = try Leavings(of: node)
        let (old, new) = (transition.old(node), transition.new(node))
        // Bounded: no transition takes nearly as many steps.
        for step in 1...400 {
            let killed = try node.host(
                transition.start(node) + ["arm", "\(step)"] + transition.words(node))
            let isOver = killed.status == 0
            #expect(isOver || killed.status == 128 + 9, "\(step): \(killed)")
            let place = "\(transition.testDescription), step \(step)"
            try transition.expectNoEscape(node, place)
            let outcome = try await converge(node, place) {
                try transition.expectNoEscape(node, "\(place), meanwhile")
            }
            // The first step is to write down what is begun.
            let wanted = step == 1 ? old : new
            #expect(outcome?.mechanism == wanted?.mechanism, "\(place)")
            #expect(outcome?.plan == wanted?.plan, "\(place)")
            // What is kept for flows through tc outlives our connections for a while.
            let mayLinger = transition.isRedirectedThroughout && node.ceiling != nil
            #expect(mayLinger || outcome == wanted, "\(place)")
            let after = try Leavings(of: node)
            #expect(after == before, "\(place): \(after.difference(from: before))")
            if isOver {
                #expect(step > 3)
                return
            }
        }
        Issue.record("the transition does not come to an end")
    }

    @Test(.timeLimit(.minutes(5)))
    func `whenever a process is killed, the next one converges`() async {
        await #expect(processExitsWith: .success) {
            try await EngineNode.with { node in
                let before = try Leavings(of: node)
                for round in 0..<30 { try await Self.killSometime(node, before, round) }
            }
        }
    }

    private static func killSometime(
        _ node: EngineNode, _ before: Leavings, _ round: Int
    ) async throws {
        let modes = Transition.mechanisms.map(\.rawValue)
        let work = (0..<20).flatMap { number in
            ["apply", modes[number % modes.count], node.planFile(number % 3 == 0 ? .other : .own)]
        }
        let host = try RunningProgram(
            "EngineHost", node.arguments(["report"] + work + ["remove"]), joiningErrors: true)
        // It is at work from here on.
        #expect(try host.line() == "[]")
        try await Task.sleep(for: .milliseconds(Int.random(in: 0...150)))
        try host.kill()
        let outcome = try await converge(node, "round \(round)")
        if let outcome {
            let plans = [node.plan(.own), node.plan(.other)].map { "\($0.fingerprint)" }
            #expect(outcome.plan.map(plans.contains) == true, "round \(round): \(outcome)")
            #expect(outcome.mechanism != nil, "round \(round): \(outcome)")
        }
        let after = try Leavings(of: node)
        #expect(after == before, "round \(round): \(after.difference(from: before))")
    }

    /// Starts over, looks at what the traffic does, removes everything, and says what was on record.
    private static func converge(
        _ node: EngineNode, _ place: String, meanwhile look: () throws -> Void = {}
    ) async throws -> HostReport? {
        let host = try RunningProgram(
            "EngineHost", node.arguments(["recover", "report", "wait"]), joiningErrors: true)
        // A few looks while it is at work.
        for _ in 0..<5 {
            if try host.hasOutput { break }
            try look()
        }
        let line = try host.line() ?? ""
        let reports = try JSONDecoder().decode([HostReport].self, from: Data(line.utf8))
        #expect(reports.count < 2, "\(place)")
        let isRedirected = reports.first?.mechanism != nil
        for (direction, family) in TestPod.ways {
            let isIntercepted = try node.pod.isIntercepted(direction, family)
            #expect(isIntercepted == isRedirected, "\(place): \(direction) \(family)")
        }
        #expect(try host.finish() == 0, "\(place)")
        guard !reports.isEmpty else { return nil }
        let removal = try node.host(["remove"])
        #expect(removal.status == 0, "\(place): \(removal.output)")
        return reports.first
    }

}

extension CrashTests.Transition {
    /// Whether there is no moment at which connections may pass the sidecar by.
    var isRedirectedThroughout: Bool {
        switch action {
        case .apply, .plan: from != nil
        case .off, .remove: false
        }
    }

    /// Legacy tables change one by one: between two of them, what comes in may be reset.
    private var mayReset: Bool { from == .legacy && action == .plan(.transparent) }

    func expectNoEscape(_ node: EngineNode, _ place: String) throws {
        for (direction, family) in TestPod.ways where isRedirectedThroughout {
            do throws(KernelError) {
                let isIntercepted = try node.pod.isIntercepted(direction, family)
                #expect(isIntercepted, "\(place): \(direction) \(family)")
            } catch {
                guard mayReset, error.errno == .connectionReset else { throw error }
            }
        }
    }
}

extension HostReport {
    /// Of a workload that nothing else has to do with.
    init(_ mechanism: Mechanism?, _ plan: RedirectionPlan) {
        self.init(
            mechanism: mechanism?.rawValue, plan: "\(plan.fingerprint)",
            touched: [mechanism?.rawValue].compactMap(\.self))
    }
}

extension TestPod {
    static let ways = Direction.allCases.flatMap { direction in
        AddressFamily.allCases.map { (direction, $0) }
    }

    /// Whether a new connection goes to the sidecar, its origin with it.
    func isIntercepted(
        _ direction: Direction, _ family: AddressFamily
    ) throws(KernelError) -> Bool {
        let isOutbound = direction == .outbound
        let sidecar = try listenTransparently(family, isOutbound ? 15001 : 15003)
        let direct = try (isOutbound ? peer : namespace).listen(family, 8080)
        let origin = Endpoint(isOutbound ? peerAddress(family) : address(family), 8080)
        let client = try (isOutbound ? namespace : peer).connect(to: origin)
        defer { withExtendedLifetime(client) {} }
        // It ends at once, and leaves nothing that waits: its ports are free for the next one.
        try client.set(.linger, to: [1, 0, 0, 0, 0, 0, 0, 0])
        // The client may know that it is connected before its peer does.
        for _ in 0..<2000 {
            if try sidecar.descriptor.waitForInput(.milliseconds(5)) { break }
            if try direct.descriptor.waitForInput(.zero) { return false }
        }
        let accepted = try sidecar.accept()
        try accepted.set(.linger, to: [1, 0, 0, 0, 0, 0, 0, 0])
        let seen = try accepted.localEndpoint()
        // A transparent sidecar sees the origin as its own address.
        if seen != origin {
            #expect(try accepted.originalDestination(family) == origin)
        }
        return true
    }

    private func listenTransparently(
        _ family: AddressFamily, _ port: UInt16
    ) throws(KernelError) -> Socket {
        let socket = try namespace.listen(family, port, as: .sidecar)
        // By us, for the sidecar's user may not.
        try socket.set(
            family == .ipv4 ? Socket.Option.transparent4 : Socket.Option.transparent6, to: 1)
        return socket
    }
}
