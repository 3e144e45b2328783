// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Backends
internal import Lab
internal import RedirectionEngine
internal import RedirectionModel

struct ExplainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Say what happens to a flow, why, and which rule or map entry decides.",
        discussion: """
            Nothing is sent and nothing is changed: the answer comes from the policy. Examples:

              swerve explain -f policy.yaml --address 10.0.0.2 --to 192.0.2.7:443 --uid 1000
              swerve explain curl --to 10.0.2.3:8080
              swerve explain -f policy.yaml --address 10.0.0.2 --inbound --to 10.0.0.2:8080
            """)

    @OptionGroup var subject: PlanArguments
    @OptionGroup var flow: FlowArguments

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let (subject, flow, json) = (subject, flow, json)
        try runInterruptibly {
            let resolved = try subject.resolve()
            let explanation = await Explanation(
                flow.flow(ownAddresses: resolved.ownAddresses), under: resolved)
            if json { try Console.say(json: explanation) } else { explanation.show() }
        }
    }
}

/// What `swerve explain` tells.
struct Explanation: Encodable {
    struct Backend: Encodable {
        /// Whether the workload has what the answer speaks of.
        enum State: String, Encodable {
            case installed
            /// Another plan is there, or this one with changes.
            case differs
            case absent
            /// No workload was named, or what it has cannot be read.
            case unknown
        }

        let mechanism: Mechanism
        let state: State
        /// The rules or entries that decide, the last being the one; `nil` when it refuses.
        let deciders: [String]?
        let refusal: String?
    }

    let flow: String
    let verdict: String
    let reason: String
    let because: String
    let backends: [Backend]

    init(_ flow: Flow, under resolved: PlanArguments.Resolved) async {
        let plan = resolved.plan
        let verdict = plan.verdict(for: flow)
        self.flow = flow.sentence
        self.verdict = "\(verdict)"
        reason = "\(verdict.reason)"
        because = verdict.reason.meaning(plan.table(for: flow))
        var backends: [Backend] = []
        for mechanism in Backends.built {
            let inspector = resolved.inspector(of: mechanism)
            backends.append(await Backend(flow, under: resolved, inspector))
        }
        self.backends = backends
    }

    func show() {
        Console.say(flow)
        Console.say("\(verdict): \(because)\n")
        for backend in backends {
            Console.say("\(backend.mechanism)\(backend.state.remark)")
            if let refusal = backend.refusal { Console.say("  refuses the plan: \(refusal)") }
            for decider in backend.deciders ?? [] { Console.say("  \(decider)") }
        }
    }
}

extension Explanation.Backend {
    init(
        _ flow: Flow, under resolved: PlanArguments.Resolved, _ inspector: any PlanInspector
    ) async {
        mechanism = inspector.mechanism
        state = await State(of: resolved, inspector)
        do throws(RedirectionError) {
            deciders = try inspector.deciders(on: flow, under: resolved.plan)
            refusal = nil
        } catch {
            deciders = nil
            refusal = "\(error)"
        }
    }
}

extension Explanation.Backend.State {
    init(of resolved: PlanArguments.Resolved, _ inspector: any PlanInspector) async {
        guard let workload = resolved.workload else {
            self = .unknown
            return
        }
        do throws(RedirectionError) {
            let installed = try await inspector.installed(in: workload)
            let planned = try inspector.render(resolved.plan)
            self = installed.map { $0 == planned ? .installed : .differs } ?? .absent
        } catch {
            self = .unknown
        }
    }

    /// What a heading says of it.
    var remark: String {
        switch self {
        case .installed: ", which the workload has"
        case .differs: ", but the workload has another plan: see swerve plan --diff"
        case .absent, .unknown: ""
        }
    }
}
