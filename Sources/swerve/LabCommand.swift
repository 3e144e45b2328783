// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Lab
internal import LinuxKernel

struct LabCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lab",
        abstract: "Two nodes, three pods and their sidecars, on this machine.",
        discussion: """
            Everything is made of network namespaces, veth pairs and cgroups of its own; the \
            machine's own network is not touched, and nothing is left afterwards. Needs root.
            """,
        subcommands: [
            LabUpCommand.self, LabRunCommand.self, LabExecCommand.self, LabStatusCommand.self,
            LabDownCommand.self, LabGuardCommand.self,
        ])
}

struct LabUpCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "up", abstract: "Build a lab and keep it up.",
        discussion: "It stays until `swerve lab down`; with --foreground, until Ctrl-C.")

    @OptionGroup var options: LabOptions

    @Flag(help: "Stay in the foreground and hold the lab here.")
    var foreground = false

    @Flag(help: .hidden)
    var announce = false

    func run() throws {
        let configuration = try options.configuration(.up)
        guard foreground else {
            let arguments = ["lab", "up", "--foreground", "--announce"] + options.arguments
            try runInterruptibly {
                try await LabKeeper.start(arguments, executable: configuration.executable)
                LabView(try .require()).show()
            }
        }
        let announce = announce
        try runInterruptibly(ignoring: announce ? [.brokenPipe, .hangUp] : []) {
            try LabRemains.sweep()
            let progress: @Sendable (String) -> Void = { if !announce { Progress.show($0) } }
            try await Lab.with(configuration, progress: progress) { lab in
                if announce {
                    Console.say("up")
                } else {
                    LabView(lab.state).show()
                    Console.say("\nCtrl-C takes it down.")
                }
                // Until the task is canceled, or 68 years.
                try await Task.sleep(for: .seconds(Int32.max))
            }
        }
    }
}

struct LabRunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Play the scene: the client asks every application.",
        discussion: """
            In the lab that is up, if it is what the options ask for, or else in one built for \
            the run.
            """)

    @OptionGroup var options: LabOptions

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let configuration = try options.configuration(.run)
        let view = RunView(json: json)
        let options = options
        try runInterruptibly {
            if let state = try LabState.running() {
                try options.check(state)
                try view.play(in: state)
            } else {
                try await Lab.with(configuration, progress: Progress.show) { lab in
                    try view.play(in: lab.state)
                }
            }
        }
    }
}

struct LabStatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show the lab that is up.")

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let state = try LabState.require()
        if json { try Console.say(json: state) } else { LabView(state).show() }
    }
}

struct LabDownCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "down", abstract: "Take the lab down, and remove what any dead lab left.")

    func run() throws {
        let stopped = try LabKeeper.stop()
        if stopped.isEmpty { Console.say("no lab was up") }
        for identity in stopped { Console.say("\(identity) is down") }
    }
}

struct LabGuardCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "guard", abstract: "Remove a lab when standard input ends.",
        shouldDisplay: false)

    @Argument var name: String

    func run() throws {
        guard let identity = LabIdentity(name) else {
            throw ValidationError("\"\(name)\" is not the name of a lab")
        }
        try LabGuard.stand(identity)
    }
}
