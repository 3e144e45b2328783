// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import HelmChart
internal import OrderedJSON

struct InstallCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "install",
        abstract: "Install into a cluster: an agent on each node, the plugin in its network.",
        discussion: """
            Values are those of the chart in deploy/helm/swerve (docs/install.md); an unknown one, \
            or one that cannot be, is refused before the cluster is asked. kubectl applies what is \
            rendered; again is an update. Examples:

              swerve install --set trafficInterceptionMode=ebpf --set interceptor.debug=true
              swerve install -f values.yaml --wait
              swerve install --output yaml | kubectl apply -f -

            A single machine is installed by `swerve node install`.
            """)

    @OptionGroup var chart: ChartArguments
    @OptionGroup var kubectl: Kubectl

    @Option(
        help: ArgumentHelp("Print the manifests and change nothing: yaml.", valueName: "format"))
    var output: OutputFormat?

    @Flag(help: "Let the API server say what would change, and change nothing.")
    var dryRun = false

    @Flag(help: "Wait until every node has a ready agent.")
    var wait = false

    @Option(help: "How many seconds to wait.")
    var timeout = 300

    enum OutputFormat: String, ExpressibleByArgument { case yaml }

    func validate() throws {
        guard timeout > 0 else { throw ValidationError("--timeout \(timeout): give seconds") }
    }

    func run() throws {
        let manifest = try chart.manifest(Chart(), chart.overrides())
        if output != nil { return Console.say(manifest.trimmed) }
        let dry = dryRun ? ["--dry-run=server"] : []
        Console.say(try kubectl.run(["apply", "-f", "-"] + dry, input: manifest).trimmed)
        if wait, !dryRun { try kubectl.waitForAgents(in: chart.namespace, timeout) }
    }
}

struct UninstallCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "uninstall",
        abstract: "Remove from a cluster: from every node's network first, then the agents.",
        discussion: """
            Each node takes the plugin out of its network and ends all redirection, without which \
            no pod would start there any more; then what was applied is deleted, but for the \
            namespace. Pods that run go on without their sidecars. Where a node does not answer \
            in time, nothing is deleted, and the command can be given again.
            """)

    @OptionGroup var chart: ChartArguments
    @OptionGroup var kubectl: Kubectl

    @Option(help: "How many seconds to wait for all nodes.")
    var timeout = 300

    @Flag(help: "Say what would be done, and do nothing.")
    var dryRun = false

    /// What is between the values and their version.
    private static let versionMark = "#version "

    func run() throws {
        let installed = try kubectl.run([
            "get", "configmap", "swerve", "--namespace", chart.namespace, "--ignore-not-found",
            "--output",
            "jsonpath={.data.values\\.yaml}{\"\(Self.versionMark)\"}"
                + "{.metadata.labels.app\\.kubernetes\\.io/version}",
        ])
        guard !installed.isEmpty else { throw NotInstalled(namespace: chart.namespace) }
        let parts = installed.split(separator: Self.versionMark, omittingEmptySubsequences: false)
        let values = parts.dropLast().joined(separator: Self.versionMark)
        var overrides = try chart.overrides(over: values)
        // The nodes have the image of the version that is installed, which need not be ours.
        let (tag, version) = (overrides.overrides["image"]?["tag"] ?? .null, parts.last ?? "")
        if !version.isEmpty, [.null, .string("")].contains(tag) {
            try overrides.set("image.tag=\(version)", asText: true)
        }
        try overrides.set("uninstalling=true")
        let manifest = try chart.manifest(Chart(), overrides)
        let objects = try Chart().manifests(overrides, as: chart.release).joined(separator: "---\n")
        let dry = dryRun ? ["--dry-run=server"] : []
        Console.say(try kubectl.run(["apply", "-f", "-"] + dry, input: manifest).trimmed)
        if !dryRun { try kubectl.waitForAgents(in: chart.namespace, timeout) }
        let delete = ["delete", "-f", "-", "--ignore-not-found"]
        Console.say(try kubectl.run(delete + dry, input: objects).trimmed)
    }
}

struct NotInstalled: Error, CustomStringConvertible {
    let namespace: String

    var description: String {
        "Swerve is not installed in the namespace \(namespace); name another with --namespace"
    }
}

extension Kubectl {
    fileprivate func waitForAgents(in namespace: String, _ timeout: Int) throws {
        let answer = try run([
            "rollout", "status", "daemonset/swerve", "--namespace", namespace,
            "--timeout", "\(timeout)s",
        ])
        Console.say(answer.trimmed)
    }
}

extension String {
    /// Without the ends of lines at its end, of which a `Console` has one of its own.
    var trimmed: String {
        String(reversed().drop(while: \.isNewline).reversed())
    }
}
