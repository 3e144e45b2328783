// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import CommandOptions
internal import Logging

/// The program: reads the command line, runs the command, exits.
@main
enum Program {
    static func main() {
        LoggingSystem.bootstrap(StreamLogHandler.standardError)
        do {
            var command = try Swerve.parseAsRoot()
            try command.run()
        } catch {
            Outcome.leave(Swerve.self, with: error)
        }
    }
}

struct Swerve: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "swerve",
        abstract: "Moves a workload's traffic through its sidecar, by eBPF, nf_tables or iptables.",
        discussion: """
            Exit codes: 0 done; 1 failed, the reason is on standard error; 2 wrong usage; \
            130 interrupted: a change to a workload was finished first, a run that shows something \
            cleaned up. A second signal ends a change in its middle; the next one goes on with it.
            """,
        version: Version.text,
        subcommands: [
            ApplyCommand.self, RemoveCommand.self, ModeCommand.self, StatusCommand.self,
            CleanupCommand.self,
            ProbeCommand.self, PlanCommand.self, ExplainCommand.self, CountersCommand.self,
            DemoCommand.self, LabCommand.self, BenchCommand.self, InstallCommand.self,
            UninstallCommand.self, NamespaceCommand.self, NodeCommand.self, VersionCommand.self,
            SidecarCommand.self, GreetingCommand.self, BenchServeCommand.self,
            BenchLoadCommand.self,
        ])
}
