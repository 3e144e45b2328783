// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import ArgumentParser
internal import CommandOptions
internal import EBPFBackend
internal import FoundationEssentials
internal import LinuxKernel
internal import OrderedJSON

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version",
        abstract: "Print the versions: of this program, the node's agent, its pins and the kernel.",
        discussion: "What cannot be asked, for want of an agent or of root, is shown as such.")

    @OptionGroup var node: NodeOptions

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let versions = Versions(of: node)
        if json { return try Console.say(json: versions) }
        Console.say(Version.text)
        Console.say("agent      \(versions.agent ?? versions.agentProblem ?? "")")
        let pins = versions.pins.map { "v\($0)" }.joined(separator: " ")
        Console.say(
            "pins       v\(versions.ownPins) is this program's; here: \(pins.isEmpty ? "none" : pins)"
        )
        Console.say("kernel     \(versions.kernel)")
    }
}

enum Version {
    static let text = "swerve \(Product.version)"
}

private struct Versions: Encodable {
    let client = Product.version
    /// The agent's version, or why there is none.
    private(set) var agent: String?
    private(set) var agentProblem: String?
    /// The version of what eBPF keeps, which agent and programs share.
    let ownPins = BPFPins(in: "").version
    let pins: [Int]
    let kernel: String

    init(of node: NodeOptions) {
        kernel = (try? kernelRelease()) ?? "unknown"
        pins = Directory(path: node.pins).names().filter { $0.hasPrefix("v") }
            .compactMap { Int($0.dropFirst()) }
        do { agent = try Self.agent(node.stateDir + "/agent.sock") } catch {
            agentProblem = "\(error)"
        }
    }

    private static func agent(_ socket: String) throws -> String {
        guard let agent = try AgentClient.find(socket) else { throw NoAgent(socket: socket) }
        let reply = try agent.get("/v1/version")
        // Agents older than the question know nothing of it.
        return (try? JSON(parsing: reply.body))?["version"]?.text ?? "older than 0.1.0"
    }
}
