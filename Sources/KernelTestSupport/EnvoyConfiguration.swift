// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// Envoy as a sidecar: one dual-stack listener for each direction.
package struct EnvoyConfiguration {
    /// Where the application listens, on loopback.
    package static let applicationPort: UInt16 = 8080
    /// The ends of a connection that its line in the log names, after the word `record`.
    package var recorded = ["DOWNSTREAM_REMOTE", "UPSTREAM_LOCAL", "UPSTREAM_REMOTE"]

    package init() {}

    /// The program that scripts/deps has fetched.
    package static let program =
        ProcessInfo.processInfo.environment["SWERVE_ENVOY"]
        ?? Repository.tools + "/envoy"

    package func arguments(program: String = Self.program) -> [String] {
        // Two workers: each listener is a group of SO_REUSEPORT sockets.
        [
            program, "--concurrency", "2", "--disable-hot-restart", "-l", "warning",
            "--file-flush-interval-msec", "50", "--config-yaml", text,
        ]
    }

    private var text: String {
        """
        static_resources:
          listeners:
        \(listener("outbound", 15001, chains: [(match: nil, cluster: "origin")]))
        \(listener("inbound", 15003, chains: Self.inboundChains))
          clusters:
          - name: origin
            type: ORIGINAL_DST
            lb_policy: CLUSTER_PROVIDED
        \(application("application4", "127.0.0.1"))
        \(application("application6", "::1"))

        """
    }

    private static let inboundChains: [(match: String?, cluster: String)] = [
        (match: "0.0.0.0", cluster: "application4"), (match: "::", cluster: "application6"),
    ]

    private func listener(
        _ name: String, _ port: UInt16, chains: [(match: String?, cluster: String)]
    ) -> String {
        let filters = "type.googleapis.com/envoy.extensions.filters.listener"
        return """
              - name: \(name)
                address: {socket_address: {address: "::", port_value: \(port), ipv4_compat: true}}
                listener_filters:
                - {name: original_dst, typed_config: {"@type": \(filters).original_dst.v3.OriginalDst}}
                filter_chains:
            \(chains.map { chain($0.match, $0.cluster) }.joined(separator: "\n"))
            """
    }

    /// The chain for original destinations of one family, or of any.
    private func chain(_ match: String?, _ cluster: String) -> String {
        let prefix = match.map { #"[{address_prefix: "\#($0)", prefix_len: 0}]"# } ?? "[]"
        let proxy = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
        let log = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
        return """
                - filter_chain_match: {prefix_ranges: \(prefix)}
                  filters:
                  - name: tcp
                    typed_config:
                      "@type": \(proxy)
                      stat_prefix: \(cluster)
                      cluster: \(cluster)
                      access_log:
                      - name: stdout
                        typed_config:
                          "@type": \(log)
                          log_format: {text_format_source: {inline_string: "\(record)\\n"}}
            """
    }

    private var record: String {
        "record "
            + recorded.map { "%\($0)_ADDRESS_WITHOUT_PORT% %\($0)_PORT%" }.joined(separator: " ")
    }

    private func application(_ name: String, _ address: String) -> String {
        let socket = #"{address: "\#(address)", port_value: \#(Self.applicationPort)}"#
        return """
              - name: \(name)
                type: STATIC
                load_assignment:
                  cluster_name: \(name)
                  endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: \(socket)}}}]}]
            """
    }
}

/// The checkout that the tests were built in.
package enum Repository {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    /// Where scripts/deps puts what no package of the system has.
    package static let tools = root.appending(path: ".build-tools").path
}
