// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Backends
internal import Lab
internal import LinuxKernel
internal import RedirectionEngine

struct ProbeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "probe",
        abstract: "Show what this kernel can do, found by doing.",
        discussion: "Run it as root: what may not be tried is unknown, and counts as missing.")

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let json = json
        try runInterruptibly {
            let report = try await ProbeReport.make()
            if json { try Console.say(json: report) } else { report.show() }
        }
    }
}

/// What `swerve probe` tells.
struct ProbeReport: Encodable {
    struct Feature: Encodable {
        let mechanism: Mechanism
        let feature: String
        let since: String
        let use: String
        let isRequired: Bool
        /// `yes`, `no` or `unknown`.
        let answer: String
        let because: String?
    }

    let kernel: String
    let features: [Feature]
    /// What `auto` takes; `nil` when nothing can work.
    let choice: Mechanism?
    let reason: String

    static func make() async throws -> ProbeReport {
        let assessments = Backends.assess()
        let features = assessments.flatMap { assessment in
            assessment.features.map { Feature(assessment.mechanism, $0) }
        }
        let kernel = try kernelRelease()
        do {
            let choice = try choose(
                .automatic, among: assessments,
                on: KernelVersion(release: kernel) ?? KernelVersion(0, 0))
            return ProbeReport(
                kernel: kernel, features: features, choice: choice.mechanism,
                reason: choice.reason)
        } catch {
            return ProbeReport(
                kernel: kernel, features: features, choice: nil, reason: "\(error)")
        }
    }

    func show() {
        Console.say("Linux \(kernel)\n")
        var table = Table(["mechanism", "feature", "since", "used by", "answer"])
        for feature in features {
            let answer = feature.because.map { "\(feature.answer): \($0)" } ?? feature.answer
            table.add([
                "\(feature.mechanism)", feature.feature, feature.since,
                feature.use + (feature.isRequired ? "" : " (optional)"), answer,
            ])
        }
        Console.say(table.text)
        Console.say("\nauto: \(choice.map { "\($0)" } ?? "none"), \(reason)")
    }
}

extension ProbeReport.Feature {
    fileprivate init(_ mechanism: Mechanism, _ report: FeatureReport) {
        self.mechanism = mechanism
        feature = report.feature
        since = report.since
        use = report.use
        isRequired = report.isRequired
        switch report.answer {
        case .yes: (answer, because) = ("yes", nil)
        case .no(let reason): (answer, because) = ("no", reason)
        case .unknown(let reason): (answer, because) = ("unknown", reason)
        }
    }
}
