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
