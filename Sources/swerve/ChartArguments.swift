// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import HelmChart
internal import LinuxKernel

/// The chart's values, in options that Helm has too.
struct ChartArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A value: trafficInterceptionMode=ebpf,interceptor.debug=true; repeat it.",
            valueName: "name=value"))
    var set: [String] = []

    @Option(help: ArgumentHelp("A value that is a text in any case.", valueName: "name=value"))
    var setString: [String] = []

    @Option(
        name: [.customShort("f"), .customLong("values")],
        help: ArgumentHelp("A file of values; repeat it, the last one counts.", valueName: "file"))
    var values: [String] = []

    @Option(name: [.short, .long], help: "The namespace of the agents.")
    var namespace = "swerve-system"

    var release: Chart.Release { Chart.Release(namespace: namespace) }

    func validate() throws {
        guard namespace.wholeMatch(of: /[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/) != nil else {
            throw ValidationError("--namespace \(namespace): is no name of a namespace")
        }
    }

    /// What is said over the chart's values; over `installed` where there is something already.
    func overrides(over installed: String? = nil) throws -> ChartValues {
        var overrides = ChartValues()
        if let installed { try overrides.merge(file: installed, named: "installed values") }
        for file in values {
            try overrides.merge(
                file: readFile(file == "-" ? "/dev/stdin" : file), named: file)
        }
        for expression in set { try overrides.set(expression) }
        for expression in setString { try overrides.set(expression, asText: true) }
        return overrides
    }

    /// All that is applied, the namespace first.
    func manifest(_ chart: Chart, _ overrides: ChartValues) throws -> String {
        ([namespaceManifest] + (try chart.manifests(overrides, as: release)))
            .joined(separator: "---\n")
    }

    /// Agents work in the node's own namespaces, which the baseline of pod security forbids.
    private var namespaceManifest: String {
        """
        # SPDX-License-Identifier: Apache-2.0
        apiVersion: v1
        kind: Namespace
        metadata:
          name: \(namespace)
          labels:
            pod-security.kubernetes.io/enforce: privileged

        """
    }
}
