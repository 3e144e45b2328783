// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import CommandOptions
internal import EBPFBackend
internal import Lab
internal import RedirectionEngine
internal import RedirectionModel

extension InboundMethod: ExpressibleByArgument {}

/// How to build a lab.
struct LabOptions: ParsableArguments {
    @Option(
        help: """
            What redirects: auto, ebpf, iptables, nft, legacy, or none for no redirection \
            (default: auto).
            """)
    var mechanism: PolicyMode?

    @Option(help: "A policy file for all pods; its mode counts where --mechanism is not given.")
    var policy: String?

    @Option(
        help: "How ebpf takes inbound connections: lookup (Linux 5.9), or tc (any kernel).")
    var inbound: InboundMethod?

    @OptionGroup var features: FeatureOptions

    @Option(
        help: ArgumentHelp(
            "A command to run as every pod's sidecar, instead of the built-in one.",
            discussion: """
                A shell runs it as the preset's uid. {outbound}, {inbound}, {app} (ports) and \
                {pod} are filled in; so are SWERVE_OUTBOUND_PORT, SWERVE_INBOUND_PORT, \
                SWERVE_APP_PORT and SWERVE_POD in its environment.
                """,
            valueName: "command"))
    var sidecar: String?

    func configuration(_ purpose: LabIdentity.Purpose) throws -> LabConfiguration {
        var policy = try policy.map(readPolicy) ?? Policy()
        let wish = (mechanism ?? policy.mode ?? .auto).wish
        // Else the plan of a policy that says none would redirect nothing, by any mechanism.
        if mechanism != nil { policy.mode = nil }
        var configuration = LabConfiguration(wish)
        configuration.policy = policy
        configuration.ceiling = features.ceiling
        configuration.inbound = inbound ?? .preferred(below: configuration.ceiling)
        configuration.sidecarCommand = sidecar
        configuration.purpose = purpose
        return configuration
    }

    /// Throws when `lab` is not what the options that were given ask for.
    func check(_ lab: LabState) throws {
        if let mechanism, !mechanism.wish.fits(lab.mechanism) {
            let own = lab.mechanism.map { "redirects by \($0)" } ?? "does not redirect"
            throw LabError.otherLab("\(own), not as --mechanism \(mechanism.rawValue)")
        }
        if let inbound, inbound != lab.inbound {
            throw LabError.otherLab("has --inbound \(lab.inbound.rawValue)")
        }
        if let policy {
            var wanted = try readPolicy(policy)
            var own = try lab.readPolicy()
            // A mode that counts has become the lab's mechanism.
            let fits = mechanism != nil || wanted.mode.map { $0.wish.fits(lab.mechanism) } ?? true
            (wanted.mode, own.mode) = (nil, nil)
            guard fits, wanted == own else {
                throw LabError.otherLab("has another policy than \(policy)")
            }
        }
        if let sidecar, sidecar != lab.sidecarCommand {
            throw LabError.otherLab("has another sidecar")
        }
    }

    /// The options again, for another process.
    var arguments: [String] {
        let options: [(String, String?)] = [
            ("--mechanism", mechanism?.rawValue), ("--policy", policy),
            ("--inbound", inbound?.rawValue), ("--sidecar", sidecar),
        ]
        return options.flatMap { name, value in value.map { [name, $0] } ?? [] }
            + features.arguments
    }
}

extension Wish? {
    /// True when a lab with this mechanism, or without one, is what was wished for.
    fileprivate func fits(_ mechanism: Mechanism?) -> Bool {
        switch self {
        case .exactly(let exact): mechanism == exact
        case .automatic: mechanism != nil
        case .oneOf(let some): mechanism.map(some.contains) ?? false
        case nil: mechanism == nil
        }
    }
}
