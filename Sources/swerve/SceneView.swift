// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Lab
internal import LinuxKernel
internal import RedirectionModel
internal import SidecarProxy

/// What is being done, on standard error, so that standard output is the result alone.
enum Progress {
    @Sendable static func show(_ text: String) { Console.complain("  ... \(text)") }
}

/// A running lab as text.
struct LabView {
    private let lab: LabState

    init(_ lab: LabState) { self.lab = lab }

    func show() {
        let mechanism = lab.mechanism.map { "\($0)" } ?? "none"
        Console.say("lab        \(lab.name) (pid \(lab.owner.pid))")
        Console.say("mechanism  \(mechanism) (\(lab.reason))")
        if let preset = try? lab.readPolicy().preset {
            Console.say("policy     preset \(preset.rawValue)")
        }
        Console.say("sidecar    \(lab.sidecarCommand ?? "built in")")
        for note in (try? lab.notes()) ?? [] { Console.say("note       \(note)") }
        Console.say()
        var table = Table(["pod", "node", "addresses", "sidecar", "application"])
        for pod in lab.pods {
            table.add([
                pod.name, pod.node, pod.addresses.map { "\($0)" }.joined(separator: " "),
                process(pod.sidecar), pod.greeting == nil ? "-" : process(pod.application),
            ])
        }
        Console.say(table.text)
        Console.say("\ntry: swerve lab exec curl -- curl -s http://ok-v1:8080/")
    }

    private func process(_ identity: ProcessIdentity?) -> String {
        guard let identity else { return "gone" }
        return identity.isRunning ? "pid \(identity.pid)" : "pid \(identity.pid), gone"
    }
}

/// One exchange and the way it took, as text.
struct ExchangeView {
    let exchange: Exchange
    let hasForeignSidecar: Bool

    func show() {
        let flag = exchange.family == .ipv4 ? "-4" : "-6"
        let port = exchange.destination.port
        Console.say("\n  \(exchange.answer.isEmpty ? "(no answer)" : exchange.answer)")
        Console.say("    curl \(flag) http://\(exchange.target):\(port)/")
        if exchange.path.client.port != 0 { Console.say(path.text) }
        if hasForeignSidecar {
            Console.say("    (the sidecar is not ours and keeps no record: this is what is left)")
        }
        for problem in exchange.problems { Console.say("    PROBLEM: \(problem)") }
    }

    private var path: Table {
        var table = Table(
            ["hop", "in pod", "source it saw", "origin it recovered", "connected to", "from"],
            indentedBy: 6)
        table.add(
            ["client", "curl", "-", "-", text(exchange.destination), text(exchange.path.client)])
        for hop in exchange.path.hops {
            table.add([
                hop.role == .app ? "app" : "\(hop.role) sidecar", hop.pod, text(hop.peer),
                text(hop.origin), text(hop.connectedTo), text(hop.connectedFrom),
            ])
        }
        return table
    }

    private func text(_ endpoint: Endpoint?) -> String { endpoint.map { "\($0)" } ?? "-" }
}

/// Plays the scene in a lab and shows it.
struct RunView: Sendable {
    let json: Bool

    func play(in lab: LabState) throws {
        let mechanism = lab.mechanism.map { "\($0)" } ?? "none"
        if !json { Console.say("mechanism  \(mechanism) (\(lab.reason))") }
        let exchanges = try Scene(in: lab).play { exchange in
            guard !json else { return }
            ExchangeView(exchange: exchange, hasForeignSidecar: lab.sidecarCommand != nil).show()
        }
        if json { try Console.say(json: exchanges) }
        guard exchanges.allSatisfy(\.problems.isEmpty) else { throw ExitCode.failure }
    }
}
