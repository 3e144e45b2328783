// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Logging

#if canImport(Glibc)
internal import Glibc
#endif

/// The program: reads the command line, runs the command, exits.
@main
enum Program {
    static func main() {
        LoggingSystem.bootstrap(StreamLogHandler.standardError)
        do {
            var command = try Swerve.parseAsRoot()
            try command.run()
        } catch {
            leave(with: error)
        }
    }

    /// Says what went wrong and exits with the code `--help` promises.
    private static func leave(with error: any Error) -> Never {
        let code = Swerve.exitCode(for: error)
        switch code {
        case .validationFailure:
            Console.complain(Swerve.fullMessage(for: error))
            exit(Outcome.usage.rawValue)
        case .success: Swerve.exit(withError: error)
        default:
            if !(error is ExitCode) { Console.complain("swerve: \(error)") }
            exit(code.rawValue)
        }
    }
}

/// What `$?` says afterwards.
enum Outcome: Int32 {
    case success = 0
    case failure = 1
    case usage = 2
    case interrupted = 130
}

struct Swerve: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "swerve",
        abstract: "Moves a workload's traffic through its sidecar, by eBPF, nf_tables or iptables.",
        discussion: """
            Exit codes: 0 done; 1 failed, the reason is on standard error; 2 wrong usage; \
            130 interrupted, everything cleaned up.
            """,
        version: Version.text,
        subcommands: [
            ProbeCommand.self, PlanCommand.self, ExplainCommand.self, CountersCommand.self,
            DemoCommand.self, LabCommand.self, VersionCommand.self,
            SidecarCommand.self, GreetingCommand.self,
        ])
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Print the version.")

    func run() throws { Console.say(Version.text) }
}

enum Version {
    static let text = "swerve 0.1.0-dev"
}
