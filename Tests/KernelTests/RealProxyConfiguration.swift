// SPDX-License-Identifier: Apache-2.0

/// haproxy as a sidecar.
///
/// Its IPv6 side asks the kernel for no original destination at all (`sock_inet_get_dst` is for
/// AF_INET alone): an IPv6 connection seems to be for the port it listens on. `server 0.0.0.0:0`
/// would connect it to itself, for ever; the reject rule is the guard an operator needs.
enum HAProxyConfiguration {
    static let text = """
        global
            log stdout format raw local0
            nbthread 2
        defaults
            mode tcp
            log global
            timeout connect 3s
            timeout client 10s
            timeout server 10s
            log-format "record %ci %cp %bi %bp %si %sp"
        frontend outbound
            bind 0.0.0.0:15001
            bind :::15001 v6only
            tcp-request connection reject if { dst_port 15001 }
            default_backend origin
        frontend inbound4
            bind 0.0.0.0:15003
            tcp-request content set-dst str(127.0.0.1)
            default_backend origin
        frontend inbound6
            bind :::15003 v6only
            default_backend application6
        backend origin
            server origin 0.0.0.0:0
        backend application6
            server application [::1]:\(RealProxy.applicationPort)

        """
}

/// Envoy as a sidecar: one dual-stack listener for each direction.
enum EnvoyConfiguration {
    static let text = """
        static_resources:
          listeners:
        \(listener("outbound", 15001, chains: [(match: nil, cluster: "origin")]))
        \(listener("inbound", 15003, chains: inboundChains))
          clusters:
          - name: origin
            type: ORIGINAL_DST
            lb_policy: CLUSTER_PROVIDED
        \(application("application4", "127.0.0.1"))
        \(application("application6", "::1"))

        """

    private static let inboundChains: [(match: String?, cluster: String)] = [
        (match: "0.0.0.0", cluster: "application4"), (match: "::", cluster: "application6"),
    ]

    private static func listener(
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
    private static func chain(_ match: String?, _ cluster: String) -> String {
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

    private static let record =
        "record "
        + ["DOWNSTREAM_REMOTE", "UPSTREAM_LOCAL", "UPSTREAM_REMOTE"]
        .map { "%\($0)_ADDRESS_WITHOUT_PORT% %\($0)_PORT%" }.joined(separator: " ")

    private static func application(_ name: String, _ address: String) -> String {
        let socket = #"{address: "\#(address)", port_value: \#(RealProxy.applicationPort)}"#
        return """
              - name: \(name)
                type: STATIC
                load_assignment:
                  cluster_name: \(name)
                  endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: \(socket)}}}]}]
            """
    }
}
