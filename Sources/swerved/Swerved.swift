// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Backends
internal import CommandOptions
internal import LinuxKernel
internal import Logging
internal import NodeAgent
internal import RedirectionEngine

#if canImport(Glibc)
internal import Glibc
#endif

/// The program: reads the command line, runs the agent, and leaves redirection in place at its end.
@main
enum Program {
    static func main() {
        do {
            var command = try Swerved.parseAsRoot()
            try command.run()
        } catch {
            Outcome.leave(Swerved.self, with: error)
        }
    }
}

struct Swerved: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "swerved",
        abstract: "Keeps every workload of this node redirected as it is recorded.",
        discussion: """
            Recovers what was interrupted, then looks after rules, routes and programs. SIGTERM \
            ends it, and leaves all redirection in place. Exit codes: 0 ended by a signal; 1 \
            failed, the reason is on standard error; 2 wrong usage.
            """)

    @OptionGroup var options: NodeOptions

    @Option(help: "How many seconds pass between two looks at every workload.")
    var period = 10.0

    @Option(help: "What to do about drift: repair or report.")
    var drift = DriftResponse.repair

    func validate() throws {
        guard period >= 0.1, period <= 86_400 else {
            throw ValidationError("--period \(period): give 0.1 to 86400 seconds")
        }
    }

    func run() throws {
        let signals = try SignalDescriptor.block([.interrupt, .terminate, .hangUp])
        LoggingSystem.bootstrap(StreamLogHandler.standardError)
        // A descriptor or two for each workload. Fewer may do; what cannot be opened then is told.
        _ = try? OpenFiles.raiseLimit()
        let node = try options.node()
        let agent = NodeAgent(
            state: node.state, NodeMechanisms(node), drift: drift, period: .seconds(period),
            logger: Logger(label: "swerved"))
        let task = Task.detached {
            do {
                try await agent.run()
                Outcome.success.end()
            } catch {
                Outcome.leave(Swerved.self, with: error)
            }
        }
        while try signals.next() == nil {}
        task.cancel()
        // What is being done to a workload comes to its end; asked again, to a recovery's. Some
        // who pass a signal on send it twice, timeout(1) among them, so that is no failure.
        while try signals.next() == nil {}
        _exit(Outcome.success.rawValue)
    }
}
