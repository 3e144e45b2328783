// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
package import CNIPlugin

/// What our entry in a node's network configuration says; the same for who puts it there and who
/// keeps it.
package struct PluginOptions: ParsableArguments {
    @Option(
        help: """
            What becomes of a pod that should be redirected and cannot be: closed (it does not \
            start), open (it starts, around its sidecar).
            """)
    package var failurePolicy = PluginConfiguration.FailurePolicy.closed

    @Option(
        help: ArgumentHelp(
            "How long the plugin waits for the agent, 1 to 300.", valueName: "seconds"))
    package var pluginTimeout = 20

    package init() {}

    package func validate() throws {
        guard 1...300 ~= pluginTimeout else {
            throw ValidationError("--plugin-timeout \(pluginTimeout): give 1 to 300 seconds")
        }
    }

    /// What the plugin is told, with the agent at `socket`.
    package func configuration(agentAt socket: String) -> PluginConfiguration {
        var configuration = PluginConfiguration()
        configuration.agentSocket = socket
        configuration.failurePolicy = failurePolicy
        configuration.timeoutSeconds = pluginTimeout
        return configuration
    }

    /// The options again, for another process.
    package var arguments: [String] {
        ["--failure-policy=\(failurePolicy.rawValue)", "--plugin-timeout=\(pluginTimeout)"]
    }
}

extension PluginConfiguration.FailurePolicy: ExpressibleByArgument {}
