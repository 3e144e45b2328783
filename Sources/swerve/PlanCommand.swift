// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Backends
internal import Lab
internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel

struct PlanCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract: "Show what a policy would install, and change nothing.",
        discussion: """
            Rules in the syntax of iptables-save(8) and nft(8), BPF maps as tables. With --diff, \
            against what is installed in the workload: + would be added, - would be removed. \
            Examples:

              swerve plan -f policy.yaml --address 10.0.0.2 --backend nft
              swerve plan curl --backend ebpf --diff
              swerve plan --netns /run/netns/web -f policy.yaml --backend legacy --diff
            """)

    @OptionGroup var subject: PlanArguments

    @Option(help: "ebpf, nft or legacy; repeat it (default: all).")
    var backend: [Mechanism] = []

    @Flag(help: "Compare with what is installed in the workload.")
    var diff = false

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        if diff, subject.pod == nil, subject.netns == nil {
            throw ValidationError("--diff needs a workload: name a pod, or give --netns")
        }
    }

    func run() throws {
        let (subject, backend, diff, json) = (subject, backend, diff, json)
        try runInterruptibly {
            let resolved = try subject.resolve()
            var views: [PlanView] = []
            for mechanism in backend.isEmpty ? Backends.built : backend {
                let inspector = resolved.inspector(of: mechanism)
                views.append(await PlanView(resolved, inspector, comparing: diff))
            }
            if json { try Console.say(json: views) } else { views.forEach { $0.show() } }
            // Of one that was asked for by name, a refusal is a failure.
            if let refusal = views.first(where: { $0.refusal != nil && !backend.isEmpty }) {
                throw PlanRefused(mechanism: refusal.mechanism)
            }
        }
    }
}

extension Mechanism: ExpressibleByArgument {}

struct PlanRefused: Error, CustomStringConvertible {
    let mechanism: Mechanism
    var description: String { "\(mechanism) refuses the plan" }
}

/// A plan in one mechanism's words, with the marks of a comparison if there is one.
struct PlanView: Encodable {
    struct Section: Encodable {
        let title: String
        /// With --diff each begins with `+`, `-` or a space.
        let lines: [String]
    }

    let mechanism: Mechanism
    let fingerprint: String
    private(set) var sections: [Section] = []
    private(set) var refusal: String?
    let notes: [String]

    init(
        _ resolved: PlanArguments.Resolved, _ inspector: any PlanInspector, comparing: Bool
    ) async {
        mechanism = inspector.mechanism
        fingerprint = "\(resolved.plan.fingerprint)"
        notes = inspector.notes(on: resolved.plan)
        do throws(RedirectionError) {
            let rendered = try inspector.render(resolved.plan)
            guard comparing, let workload = resolved.workload else {
                sections = rendered.sections.map { Section(title: $0.title, lines: $0.lines) }
                return
            }
            let installed = try await inspector.installed(in: workload)
            sections = rendered.changes(from: installed).map { title, changes in
                Section(title: title, lines: changes.map(\.text))
            }
        } catch {
            refusal = "\(error)"
        }
    }

    func show() {
        Console.say("# \(mechanism), plan \(fingerprint)")
        if let refusal { Console.say("# refused: \(refusal)") }
        for note in notes where refusal == nil { Console.say("# note: \(note)") }
        for section in sections {
            Console.say("\n# \(section.title)")
            for line in section.lines { Console.say(line) }
        }
        Console.say()
    }
}

extension RenderedPlan.Change {
    fileprivate var text: String {
        switch self {
        case .same(let line): "  \(line)"
        case .added(let line): "+ \(line)"
        case .removed(let line): "- \(line)"
        }
    }
}
