// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import EBPFBackend
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
        let resolved = try subject.resolve()
        let explanation = Explanation(
            flow.flow(ownAddresses: resolved.ownAddresses), under: resolved.plan,
            inbound: try subject.inbound())
        if json { try Console.say(json: explanation) } else { explanation.show() }
    }
}

/// What `swerve explain` tells.
struct Explanation: Encodable {
    struct Backend: Encodable {
        let mechanism: Mechanism
        /// The rules or entries that decide, the last being the one; `nil` when it refuses.
        let deciders: [String]?
        let refusal: String?
    }

    let flow: String
    let verdict: String
    let reason: String
    let because: String
    let backends: [Backend]

    init(_ flow: Flow, under plan: RedirectionPlan, inbound: InboundMethod) {
        let verdict = plan.verdict(for: flow)
        self.flow = flow.sentence
        self.verdict = "\(verdict)"
        reason = "\(verdict.reason)"
        because = verdict.reason.meaning(plan.table(for: flow))
        backends = Backends.built.map { mechanism in
            let inspector = Backends.inspector(of: mechanism, inbound: inbound)
            do throws(RedirectionError) {
                return Backend(
                    mechanism: inspector.mechanism,
                    deciders: try inspector.deciders(on: flow, under: plan), refusal: nil)
            } catch {
                return Backend(
                    mechanism: inspector.mechanism, deciders: nil, refusal: "\(error)")
            }
        }
    }

    func show() {
        Console.say(flow)
        Console.say("\(verdict): \(because)\n")
        for backend in backends {
            Console.say("\(backend.mechanism)")
            if let refusal = backend.refusal { Console.say("  refuses the plan: \(refusal)") }
            for decider in backend.deciders ?? [] { Console.say("  \(decider)") }
        }
    }
}
