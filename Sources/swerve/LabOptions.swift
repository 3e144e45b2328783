// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import EBPFBackend
internal import Lab
internal import RedirectionEngine

enum MechanismArgument: String, ExpressibleByArgument, CaseIterable {
    case ebpf, nft, legacy, auto, none

    /// What to ask the engine for; `nil` is no redirection.
    var wish: Wish? {
        switch self {
        case .ebpf: .exactly(.ebpf)
        case .nft: .exactly(.nft)
        case .legacy: .exactly(.legacy)
        case .auto: .automatic
        case .none: nil
        }
    }
}

extension InboundMethod: ExpressibleByArgument {}

/// How to build a lab.
struct LabOptions: ParsableArguments {
    @Option(help: "What redirects: ebpf, nft, legacy, auto, or none for no redirection.")
    var mechanism = MechanismArgument.auto

    @Option(
        help: "How ebpf takes inbound connections: lookup (Linux 5.9), or tc (any kernel).")
    var inbound = InboundMethod.preferred

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

    func configuration(_ purpose: LabIdentity.Purpose) -> LabConfiguration {
        var configuration = LabConfiguration(mechanism.wish)
        configuration.inbound = inbound
        configuration.sidecarCommand = sidecar
        configuration.purpose = purpose
        return configuration
    }

    /// The options again, for another process.
    var arguments: [String] {
        ["--mechanism", mechanism.rawValue, "--inbound", inbound.rawValue]
            + (sidecar.map { ["--sidecar", $0] } ?? [])
    }
}
