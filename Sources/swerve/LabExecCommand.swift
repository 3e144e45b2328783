// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import FoundationEssentials
internal import Lab
internal import LinuxKernel

struct LabExecCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exec", abstract: "Run a command in a pod of the lab that is up.",
        discussion: """
            In the pod's network, cgroup and host names, as root unless told otherwise. Example:

              swerve lab exec curl -- curl -s http://ok-v2:8080/

            Exits as the command does.
            """)

    @Option(help: "Run as this user: UID or UID:GID.")
    var user: OwnerArgument?

    @Argument(help: "The pod: curl, ok-v1 or ok-v2.")
    var pod: String

    @Argument(parsing: .postTerminator, help: "The command, after --.")
    var command: [String] = []

    func validate() throws {
        guard !command.isEmpty else {
            throw ValidationError("say what to run: swerve lab exec \(pod) -- COMMAND")
        }
    }

    func run() throws {
        let lab = try LabState.require()
        var birth = try PodCommand(command, in: lab.pod(pod), of: lab, as: user?.owner).birth
        birth.environment = ProcessInfo.processInfo.environment.map { "\($0.key)=\($0.value)" }
        let signals = try SignalDescriptor.block([.interrupt, .terminate, .hangUp])
        let child = try ChildProcess.start(birth)
        let relay = SignalRelay(signals, to: child)
        let status = try child.waitForExit()
        withExtendedLifetime(relay) {}
        throw ExitCode(Int32(status))
    }
}

/// Passes signals on to a child; Ctrl-C reaches it without help.
private final class SignalRelay: Sendable {
    private let signals: SignalDescriptor

    init(_ signals: consuming SignalDescriptor, to child: ChildProcess) {
        self.signals = signals
        Task.detached { [self] in
            while let signal = try? self.signals.next() {
                if signal != .interrupt { try? child.signal(signal.rawValue) }
            }
        }
    }
}
