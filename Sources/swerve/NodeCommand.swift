// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import ArgumentParser
internal import CNIConfiguration
internal import CommandOptions
internal import FoundationEssentials
internal import LinuxKernel
internal import NodeInstallation

struct NodeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node",
        abstract: "Install on this machine: the CNI plugin in its network, the agent in systemd.",
        subcommands: [
            NodeInstallCommand.self, NodeUninstallCommand.self, NodeReadyCommand.self,
            NodeWaitCommand.self,
        ])
}

/// Where a node's runtime looks, in options.
struct NodeDirectories: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Where the runtime's network configurations are (default: found; K3s has its own).",
            valueName: "directory"))
    var cniConfDir: String?

    @Option(
        help: ArgumentHelp(
            "Where it looks for CNI plugins (default: found).", valueName: "directory"))
    var cniBinDir: String?

    @Option(
        help: ArgumentHelp("Where systemd's units of this machine are.", valueName: "directory"))
    var systemdDir = "/etc/systemd/system"

    @Flag(help: "Say what would be done, and do nothing.")
    var dryRun = false

    func validate() throws {
        for (name, path) in [
            ("--cni-conf-dir", cniConfDir), ("--cni-bin-dir", cniBinDir),
            ("--systemd-dir", systemdDir),
        ] {
            guard let path, !path.hasPrefix("/") else { continue }
            throw ValidationError("\(name) \(path): give a path that begins with /")
        }
    }

    var unit: SystemdUnit { SystemdUnit(directory: systemdDir) }

    func installation(_ options: PluginOptions? = nil, socket: String = "") -> NodeInstallation {
        let found = NodeInstallation.detect()
        return NodeInstallation(
            configurationDirectory: cniConfDir ?? found.configurationDirectory,
            pluginDirectory: cniBinDir ?? found.pluginDirectory,
            configuration: options?.configuration(agentAt: socket) ?? found.configuration)
    }
}

struct NodeInstallCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "install",
        abstract:
            "Put the CNI plugin into this node's network, and the agent into systemd if asked.",
        discussion: """
            The plugin's program comes first, then our entry at the end of the chain that the \
            runtime takes. All of it is checked first: where one part cannot be had, nothing is \
            changed. Again is once. Nothing is started; `swerved --cni-conf-dir DIR` keeps the \
            entry where others rewrite the file. In a cluster, `swerve install` does it all.

              swerve node install --systemd
              swerve node install --cni-conf-dir /etc/cni/net.d --cni-bin-dir /opt/cni/bin
              swerve node install --systemd --no-cni      on a machine without pods
            """)

    @OptionGroup var directories: NodeDirectories
    @OptionGroup var options: PluginOptions

    @Option(
        help: ArgumentHelp(
            "The plugin's program (default: the one of this installation).", valueName: "path"))
    var plugin: String?

    @Option(help: ArgumentHelp("Where the agent listens.", valueName: "path"))
    var socket = "/run/swerve/agent.sock"

    @Flag(help: "Install the program and no entry: an agent with --cni-conf-dir makes that.")
    var programOnly = false

    @Flag(inversion: .prefixedNo, help: "Install the CNI plugin.")
    var cni = true

    @Flag(help: "Write the agent's unit, and enable it for the next boot.")
    var systemd = false

    @Option(
        help: ArgumentHelp(
            "The policy of the unit's agent, repeat it (docs/policy.md).", valueName: "file"))
    var policy: [String] = []

    func validate() throws {
        // What the plugin asks of its entry.
        guard socket.hasPrefix("/"), socket.utf8.count < 108 else {
            throw ValidationError(
                "--socket \(socket): give a path that begins with /, of less than 108 bytes")
        }
        guard cni || systemd else {
            throw ValidationError("--no-cni: then there is --systemd to do")
        }
        for file in policy {
            guard systemd else { throw ValidationError("--policy: is the unit's; say --systemd") }
            guard file.hasPrefix("/") else {
                throw ValidationError("--policy \(file): give a path that begins with /")
            }
            _ = try readPolicy(file)
        }
    }

    func run() throws {
        let source = plugin ?? InstalledPrograms.own.plugin
        let installation = directories.installation(options, socket: socket)
        // Everything is looked at before anything is changed.
        let preview = cni && !programOnly ? try installation.check(source) : nil
        if cni, programOnly { try installation.checkProgram(source) }
        let unit = systemd ? try unitText(installation) : nil
        if unit != nil { try checkUnit() }
        if directories.dryRun {
            if cni { show(installation, source, preview?.report.file, preview?.text) }
            if let unit { Console.say("would write \(directories.unit.path):\n\(unit)") }
            return
        }
        guard let unit else { return try install(installation, source) }
        // The entry comes last: without an agent that is there at the next boot no pod would start.
        let (old, wasEnabled) = (directories.unit.current, directories.unit.isEnabled)
        let changed = try directories.unit.install(unit)
        if cni {
            do { try install(installation, source) } catch {
                if changed { directories.unit.undo(to: old, wasEnabled) }
                throw error
            }
        }
        Console.say(
            "\(directories.unit.path): "
                + (changed
                    ? "written, enabled; start it with: systemctl daemon-reload && "
                        + "systemctl restart swerved"
                    : "is there"))
    }

    private func checkUnit() throws {
        try directories.unit.check()
        let agent = InstalledPrograms.own.agent
        guard FileManager.default.isExecutableFile(atPath: agent) else {
            throw NodeInstallationError.unit("\(agent): the unit's program is not there")
        }
    }

    private func install(_ installation: NodeInstallation, _ source: String) throws {
        if programOnly {
            let changed = try installation.installProgram(from: source)
            return Console.say("\(installation.programPath): \(changed ? "written" : "is there")")
        }
        let report = try installation.install(from: source)
        Console.say(
            "\(installation.programPath): \(report.programChanged ? "written" : "is there")")
        for (file, problem) in report.chain.problems.sorted(by: { $0.key < $1.key }) {
            Console.complain("swerve: \(file): \(problem)")
        }
        if let file = report.chain.file {
            Console.say(
                "\(installation.configurationDirectory)/\(file): "
                    + (report.chain.changed ? "calls the plugin now" : "calls the plugin"))
        }
    }

    private func show(
        _ installation: NodeInstallation, _ source: String, _ file: String?, _ text: String?
    ) {
        let verb = installation.wouldWriteProgram(from: source) ? "would write" : "is there:"
        Console.say("\(verb) \(installation.programPath)")
        guard let file, let text else { return }
        Console.say("would be in \(installation.configurationDirectory)/\(file):\n\(text)")
    }

    private func unitText(_ installation: NodeInstallation) throws -> String {
        var words = [InstalledPrograms.own.agent]
        if socket != "/run/swerve/agent.sock" { words.append("--socket=\(socket)") }
        words += policy.map { "--policy=\($0)" }
        if cni {
            words += ["--cni-conf-dir=\(installation.configurationDirectory)"] + options.arguments
        }
        var waiting = [InstalledPrograms.own.command, "node", "ready", "--wait=30"]
        if socket != "/run/swerve/agent.sock" { waiting.append("--socket=\(socket)") }
        if cni { waiting.append("--cni-conf-dir=\(installation.configurationDirectory)") }
        return try SystemdUnit.text(words, waiting: waiting)
    }
}

struct NodeUninstallCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "uninstall",
        abstract: "Take the CNI plugin out of this node's network, and the agent out of systemd.",
        discussion: """
            Our entry goes before the program, every other byte of the files stays. Stop an agent \
            that keeps the entry first. Pods stay redirected; `swerve cleanup` ends that.
            """)

    @OptionGroup var directories: NodeDirectories

    func run() throws {
        let installation = directories.installation()
        let unit = directories.unit
        if directories.dryRun {
            for file in installation.chain.filesWithEntry() {
                Console.say(
                    "would take our entry out of \(installation.configurationDirectory)/\(file)")
            }
            for path in [installation.programPath, unit.path]
            where FileManager.default.fileExists(atPath: path) {
                Console.say("would remove \(path)")
            }
            return
        }
        try refuseBesideAgent(installation)
        let report = try installation.uninstall()
        Console.say(
            "\(installation.configurationDirectory): "
                + (report.chain.changed ? "our entry is out" : "no entry of ours"))
        Console.say(
            "\(installation.programPath): \(report.programChanged ? "removed" : "is not there")")
        if try unit.uninstall() { Console.say("\(unit.path): disabled, removed") }
    }
}

extension NodeUninstallCommand {
    /// An agent may be putting the entry back as fast as we take it out.
    private func refuseBesideAgent(_ installation: NodeInstallation) throws {
        for socket in installation.chain.agentSockets() where try AgentClient.find(socket) != nil {
            throw AgentListens(socket: socket)
        }
    }
}

struct AgentListens: Error, CustomStringConvertible {
    let socket: String

    var description: String {
        "an agent listens at \(socket), and may put the entry back: stop it first "
            + "(systemctl disable --now swerved)"
    }
}

struct NodeReadyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ready",
        abstract: "Say whether the agent of this node is ready; fails (1) if it is not.")

    @OptionGroup var node: NodeOptions

    @Option(
        help: ArgumentHelp(
            "Where the agent listens (default: agent.sock in the state directory).",
            valueName: "path"))
    var socket: String?

    @Option(
        help: ArgumentHelp(
            "Ready only when the network configuration here, if there is one, calls the plugin.",
            valueName: "directory"))
    var cniConfDir: String?

    @Option(help: "How many seconds to wait for it.")
    var wait = 0

    func validate() throws {
        guard 0...3600 ~= wait else {
            throw ValidationError("--wait \(wait): give 0 to 3600 seconds")
        }
    }

    func run() throws {
        let end = ContinuousClock.now + .seconds(wait)
        while true {
            do { return Console.say(try look()) } catch {
                guard ContinuousClock.now < end else { throw error }
            }
            pause(.milliseconds(100))
        }
    }

    private func look() throws -> String {
        let socket = socket ?? node.stateDir + "/agent.sock"
        guard let agent = try AgentClient.find(socket) else { throw NoAgent(socket: socket) }
        let reply = try agent.get("/readyz")
        let words = String(decoding: reply.body, as: UTF8.self).trimmed
        guard reply.status == 200 else { throw NotReady(words: words) }
        if let cniConfDir {
            let chain = NodeInstallation(configurationDirectory: cniConfDir, pluginDirectory: "")
                .chain
            if let file = chain.preview().report.file, !chain.filesWithEntry().contains(file) {
                throw NotReady(words: "\(cniConfDir)/\(file) does not call the plugin yet")
            }
        }
        return words
    }
}

struct NotReady: Error, CustomStringConvertible {
    let words: String
    var description: String { words }
}

struct NoAgent: Error, CustomStringConvertible {
    let socket: String
    var description: String { "no agent listens at \(socket): start swerved" }
}

/// What is left to do on a node that has been uninstalled: to be there until it is deleted.
struct NodeWaitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "wait", abstract: "Wait for a signal.", shouldDisplay: false)

    func run() throws {
        let signals = try SignalDescriptor.block([.interrupt, .terminate, .hangUp])
        while try signals.next() == nil {}
    }
}
