// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import OrderedJSON
internal import RedirectionModel

struct NamespaceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "namespace",
        abstract: "Say which namespaces of a cluster are redirected, whatever the mesh says.",
        discussion: """
            The annotation swerve.dev/mode on a namespace enrolls its pods, or takes them out \
            (--mode none); pods say otherwise with their own. Agents act on it at once.
            """,
        subcommands: [
            NamespaceAddCommand.self, NamespaceRemoveCommand.self, NamespaceListCommand.self,
        ])

    static let annotation = "swerve.dev/mode"

    /// Pods of these are the cluster's own.
    fileprivate static let reserved = [
        "kube-system", "kube-public", "kube-node-lease", "swerve-system",
    ]
}

struct NamespaceAddCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Redirect the pods of namespaces.")

    @Argument(help: "Names of namespaces.")
    var names: [String]

    @Option(help: "auto, ebpf, iptables, nft, legacy, or none.")
    var mode = PolicyMode.auto

    @OptionGroup var kubectl: Kubectl

    func validate() throws {
        try names.forEach(checkName)
        for name in names where NamespaceCommand.reserved.contains(name) {
            throw ValidationError("\(name) is the cluster's own, and is not redirected")
        }
    }

    func run() throws {
        try kubectl.run(
            ["annotate", "--overwrite", "namespace"] + names
                + ["\(NamespaceCommand.annotation)=\(mode.rawValue)"])
        for name in names { Console.say("\(name): \(mode.rawValue)") }
    }
}

struct NamespaceRemoveCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Leave the pods of namespaces to what the mesh says.")

    @Argument(help: "Names of namespaces.")
    var names: [String]

    @OptionGroup var kubectl: Kubectl

    func validate() throws { try names.forEach(checkName) }

    func run() throws {
        try kubectl.run(["annotate", "namespace"] + names + ["\(NamespaceCommand.annotation)-"])
        for name in names { Console.say("\(name): left to the mesh") }
    }
}

struct NamespaceListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the namespaces that say something about redirection.")

    @OptionGroup var kubectl: Kubectl

    @Flag(help: "Print JSON.")
    var json = false

    private struct Row: Encodable {
        let name: String
        let mode: String?
        let mesh: String?
    }

    func run() throws {
        let answer = try JSON(parsing: kubectl.run(["get", "namespaces", "--output", "json"]))
        let rows = (answer["items"]?.elements ?? []).compactMap { item -> Row? in
            let metadata = item["metadata"]
            let mode = metadata?["annotations"]?[NamespaceCommand.annotation]?.text
            let labels = metadata?["labels"]
            let mesh = ["flomesh.io/monitored-by", "openservicemesh.io/monitored-by"]
                .compactMap { labels?[$0]?.text }.first
            guard mode != nil || mesh != nil else { return nil }
            return Row(name: metadata?["name"]?.text ?? "", mode: mode, mesh: mesh)
        }
        if json { return try Console.say(json: rows) }
        guard !rows.isEmpty else { return Console.say("no namespace says anything") }
        var table = Table(["namespace", "mode", "mesh"])
        for row in rows { table.add([row.name, row.mode ?? "-", row.mesh ?? "-"]) }
        Console.say(table.text)
    }
}

/// A name that is one, and not an option of kubectl's.
private func checkName(_ name: String) throws {
    guard name.wholeMatch(of: /[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/) != nil else {
        throw ValidationError("\(name): is no name of a namespace")
    }
}
