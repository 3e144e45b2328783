// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Backends
internal import CommandOptions
internal import EBPFBackend
internal import Lab
internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel

struct ProbeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "probe",
        abstract: "Show what this kernel can do, found by doing, and what would be chosen.",
        discussion: """
            Run it as root: what may not be tried is unknown, and counts as missing. What others have \
            attached where this would act is shown for the node, and with --netns and --cgroup for a \
            workload. With --mechanism it fails where that cannot run, and says what is missing.
            """)

    @Option(help: "What to choose: auto, ebpf, iptables, nft or legacy.")
    var mechanism = PolicyMode.auto

    @OptionGroup var features: FeatureOptions

    @Option(help: "The network namespace of a workload.")
    var netns: String?

    @Option(help: "The cgroup of a workload.")
    var cgroup: String?

    @Option(help: "The cgroup that programs would be attached to (default: the top of cgroup2).")
    var cgroupRoot: String?

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let (command, json) = (self, json)
        try runInterruptibly {
            let report = try command.probe()
            if json { try Console.say(json: report) } else { report.show() }
            if report.choice == nil { throw NoMechanism(reason: report.reason) }
        }
    }

    private func probe() throws -> ProbeReport {
        let node = cgroupRoot.map(Cgroup.init(path:))
        let workload = try workload()
        let others = Backends.others(around: workload, attachingTo: node)
        return try ProbeReport(
            wish(), for: workload, attachingTo: node, below: features.ceiling, beside: others)
    }

    private func wish() throws -> Wish {
        guard let wish = mechanism.wish else {
            throw ValidationError("--mechanism none: for no redirection nothing is chosen")
        }
        return wish
    }

    private func workload() throws -> Workload? {
        let cgroup = cgroup.map(Cgroup.init(path:))
        if let netns {
            return Workload(id: netns, namespace: try .named(netns), cgroup: cgroup)
        }
        return try cgroup.map { Workload(id: $0.path, cgroup: $0, in: try .current()) }
    }
}

/// What `swerve probe` ends with when nothing can be chosen; the report has been printed.
struct NoMechanism: Error, CustomStringConvertible {
    let reason: String
    var description: String { reason }
}

/// What `swerve probe` tells.
struct ProbeReport: Encodable {
    let kernel: String
    /// The newest kernel whose features were looked for.
    let maxFeatures: String?
    let features: [FeatureAnswer]
    /// What of others acts where we would.
    let others: [ForeignHook]
    /// What would be taken; `nil` when nothing can work.
    let choice: Mechanism?
    let reason: String
    let passedOver: [PassedOver]

    init(
        _ wish: Wish, for workload: Workload?, attachingTo node: Cgroup?,
        below ceiling: FeatureCeiling, beside others: [ForeignHook]
    ) throws {
        kernel = try kernelRelease()
        maxFeatures = ceiling.version.map { "\($0)" }
        features = Backends.assess(attachingTo: node, below: ceiling)
            .flatMap { $0.features.map(FeatureAnswer.init) }
        self.others = others
        do {
            let choice = try Backends.choose(
                wish, in: workload, attachingTo: node, inbound: .preferred(below: ceiling),
                below: ceiling, beside: others)
            (self.choice, reason, passedOver) = (
                choice.mechanism, choice.reason, choice.passedOver
            )
        } catch let error as ChoiceError {
            (choice, reason, passedOver) = (nil, "\(error)", error.passedOver)
        }
    }

    func show() {
        Console.say("Linux \(kernel)\(maxFeatures.map { ", nothing newer than \($0)" } ?? "")\n")
        var table = Table(["mechanism", "feature", "since", "used by", "answer"])
        for feature in features {
            let answer = feature.because.map { "\(feature.answer): \($0)" } ?? feature.answer
            table.add([
                "\(feature.mechanism)", feature.feature, feature.since,
                feature.use + (feature.isRequired ? "" : " (optional)"), answer,
            ])
        }
        Console.say(table.text)
        if !others.isEmpty {
            Console.say("\nof others, where this would act:")
            for hook in others { Console.say("  \(hook)") }
        }
        if let choice { Console.say("\nchoice: \(choice), \(reason)") }
    }
}

extension ChoiceError {
    fileprivate var passedOver: [PassedOver] {
        if case .nothingFits(let passedOver) = self { passedOver } else { [] }
    }
}
