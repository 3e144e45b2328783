// SPDX-License-Identifier: Apache-2.0

import Foundation
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
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

        static let mechanisms: [Mechanism] = [.ebpf, .nft, .legacy]
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

    private static func killEverywhere(
        _ node: EngineNode, _ transition: Transition
    ) async throws {
        let before = try Leavings(of: node)
        // Bounded: no transition takes nearly as many steps.
        for step in 1...400 {
            let killed = try node.host(
                transition.start(node) + ["arm", "\(step)"] + transition.words(node))
            let isOver = killed.status == 0
            #expect(isOver || killed.status == 128 + 9, "\(step): \(killed)")
            try await converges(node, "\(transition.testDescription), step \(step)")
            let after = try Leavings(of: node)
            #expect(
                after == before,
                "\(transition.testDescription), \(step): \(after.difference(from: before))")
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
        try await converges(node, "round \(round)")
        let after = try Leavings(of: node)
        #expect(after == before, "round \(round): \(after.difference(from: before))")
    }

    /// Starts over, looks at what the traffic does, and removes everything.
    private static func converges(_ node: EngineNode, _ place: String) async throws {
        let host = try RunningProgram(
            "EngineHost", node.arguments(["recover", "report", "wait"]), joiningErrors: true)
        let line = try host.line() ?? ""
        let reports = try JSONDecoder().decode([HostReport].self, from: Data(line.utf8))
        let isRedirected = reports.first?.mechanism != nil
        if let report = reports.first {
            #expect(report.touched == [report.mechanism].compactMap(\.self), "\(place)")
        }
        for family in AddressFamily.allCases {
            for direction in Direction.allCases {
                let isIntercepted = try node.pod.isIntercepted(direction, family, reports.first)
                #expect(isIntercepted == isRedirected, "\(place): \(direction) \(family)")
            }
        }
        #expect(try host.finish() == 0, "\(place)")
        guard !reports.isEmpty else { return }
        let removal = try node.host(["remove"])
        #expect(removal.status == 0, "\(place): \(removal.output)")
    }
}

extension TestPod {
    /// Whether a new connection goes to the sidecar, its origin with it.
    func isIntercepted(
        _ direction: Direction, _ family: AddressFamily, _ report: HostReport?
    ) throws -> Bool {
        let isOutbound = direction == .outbound
        let sidecar = try listenTransparently(family, isOutbound ? 15001 : 15003)
        let direct = try (isOutbound ? peer : namespace).listen(family, 8080)
        let origin = Endpoint(isOutbound ? peerAddress(family) : address(family), 8080)
        let client = try (isOutbound ? namespace : peer).connect(to: origin)
        defer { withExtendedLifetime(client) {} }
        guard try sidecar.descriptor.waitForInput(.zero) else {
            #expect(try direct.descriptor.waitForInput(.seconds(10)))
            return false
        }
        let accepted = try sidecar.accept()
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
