// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import ArgumentParser
internal import Backends
internal import CommandOptions
internal import EBPFBackend
internal import LinuxKernel
internal import Logging
internal import NodeAgent
internal import PolicyFile
internal import RedirectionEngine
internal import RedirectionModel

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
            Recovers what was interrupted, then looks after rules, routes and programs, and does \
            what the CNI plugin and operators ask at its socket (docs/agent.md). SIGTERM ends it, \
            and leaves all redirection in place. Exit codes: 0 ended by a signal; 1 failed, the \
            reason is on standard error; 2 wrong usage.
            """,
        version: "swerved \(Product.version)")

    @OptionGroup var options: NodeOptions

    @Option(help: "How many seconds pass between two looks at every workload.")
    var period = 10.0

    @Option(help: "What to do about drift: repair or report.")
    var drift = DriftResponse.repair

    @Option(
        help: ArgumentHelp(
            "Where to listen (default: agent.sock in the state directory).", valueName: "path"))
    var socket: String?

    @Option(
        help: ArgumentHelp(
            """
            Listen here too, for Flomesh's own CNI plugin, such as at /var/run/fsm-cni.sock.
            """, valueName: "path"))
    var flomeshSocket: String?

    @Option(
        help: ArgumentHelp(
            """
            The node's policy for pods (docs/policy.md); repeat it for layers, the nearest to the \
            pod last. Without one, only pods are redirected that ask for it by annotation.
            """, valueName: "file"))
    var policy: [String] = []

    @OptionGroup(title: "Pods' network") var network: NetworkOptions

    @OptionGroup(title: "Kubernetes") var cluster: ClusterOptions

    @Option(help: "How to write the log: text or json, a line for each entry.")
    var logFormat = LogFormat.text

    @Option(help: "What to write: info, or debug, which is every request that is answered, too.")
    var logLevel = LogLevel.info

    func validate() throws {
        for (name, path) in [("--socket", socket), ("--flomesh-socket", flomeshSocket)] {
            guard let path, !path.hasPrefix("/") else { continue }
            throw ValidationError("\(name) \(path): give a path that begins with /")
        }
        guard period >= 0.1, period <= 86_400 else {
            throw ValidationError("--period \(period): give 0.1 to 86400 seconds")
        }
    }

    func run() throws {
        let signals = try SignalDescriptor.block([.interrupt, .terminate, .hangUp])
        LoggingSystem.bootstrap { [logFormat, logLevel] label in
            var handler = logFormat.handler(label)
            handler.logLevel = logLevel.level
            return handler
        }
        // A descriptor or two for each workload. Fewer may do; what cannot be opened then is told.
        _ = try? OpenFiles.raiseLimit()
        let node = try options.node()
        let agent = NodeAgent(
            state: node.state, NodeMechanisms(node), drift: drift, period: .seconds(period),
            door: try door(of: node), logger: Logger(label: "swerved"))
        network.keep(calling: socket ?? node.state + "/agent.sock", Logger(label: "swerved"))
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

    private func door(of node: Node) throws -> Door {
        var door = Door(
            socket: socket ?? node.state + "/agent.sock", policy: NodePolicy(try layers()),
            probe: { Backends.assess(attachingTo: node.cgroup, below: node.features) },
            inspectors: { workload in
                Backends.built.map { mechanism in
                    Backends.inspector(
                        of: mechanism, below: workload.cgroup ?? node.cgroup,
                        inbound: .preferred(below: node.features),
                        below: node.features)
                }
            })
        door.flomeshSocket = flomeshSocket
        door.cgroups = node.cgroup
        door.cluster = try cluster.access()
        door.attachments = network.attachments
        return door
    }

    private func layers() throws -> Policy? {
        guard !policy.isEmpty else { return nil }
        var layers = Policy()
        for file in policy {
            let text = try readFile(file)
            layers = layers.overlaid(by: try PolicyFile.parse(Array(text.utf8), named: file))
        }
        return layers
    }
}

/// How the log is written to standard error.
enum LogFormat: String, CaseIterable, ExpressibleByArgument {
    case text, json

    var handler: @Sendable (String) -> any LogHandler {
        switch self {
        case .text: { StreamLogHandler.standardError(label: $0) }
        case .json:
            { label in
                JSONLogHandler(label) { line in
                    try? OwnedDescriptor(duplicating: 2).write(line + "\n")
                }
            }
        }
    }
}

/// What the log has.
enum LogLevel: String, CaseIterable, ExpressibleByArgument {
    case info, debug

    var level: Logger.Level {
        switch self {
        case .info: .info
        case .debug: .debug
        }
    }
}
