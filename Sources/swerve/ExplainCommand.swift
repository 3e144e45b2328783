// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Backends
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
                flow.question.flow(ownAddresses: resolved.ownAddresses), under: resolved.plan,
                in: resolved.workload, by: Backends.built.map(resolved.inspector))
            if json { try Console.say(json: explanation) } else { explanation.show() }
        }
    }
}

extension Explanation {
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

extension Explanation.Backend.State {
    /// What a heading says of it.
    fileprivate var remark: String {
        switch self {
        case .installed: ", which the workload has"
        case .differs: ", but the workload has another plan: see swerve plan --diff"
        case .absent, .unknown: ""
        }
    }
}
