/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * swerve_source.h - the source address of a connection that is turned to the sidecar.
 */
#ifndef SWERVE_SOURCE_H
#define SWERVE_SOURCE_H

#include "swerve_outbound.h"

/* The source the application has bound the socket to; zero if it has not, or if it was us. */
static __always_inline void swerve_bound_source(const struct bpf_sock_addr *ctx, bool is_ipv4,
						const struct swerve_socket *socket,
						struct swerve_addr *source)
{
	struct bpf_sock *sk = ctx->sk;

	__builtin_memset(source, 0, sizeof(*source));
	if (socket && (socket->flags & SWERVE_SOCKET_BOUND) && !sk->src_port)
		return;
	if (is_ipv4) {
		swerve_map_ipv4(source, sk->src_ip4);
		return;
	}
	source->word[0] = sk->src_ip6[0];
	source->word[1] = sk->src_ip6[1];
	source->word[2] = sk->src_ip6[2];
	source->word[3] = sk->src_ip6[3];
}

/* Gives the socket a source and leaves the port open, as connect(2) would; zero takes it away. */
static __always_inline bool swerve_bind_source(struct bpf_sock_addr *ctx, bool is_ipv4,
					       const struct swerve_addr *source)
{
	struct sockaddr_in6 name6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in name4 = { .sin_family = AF_INET };

	if (is_ipv4) {
		name4.sin_addr.s_addr = source->word[3];
		return !bpf_bind(ctx, (struct sockaddr *)&name4, sizeof(name4));
	}
	__builtin_memcpy(&name6.sin6_addr, source, sizeof(*source));
	return !bpf_bind(ctx, (struct sockaddr *)&name6, sizeof(name6));
}

/*
 * Keeps the source address the connection would have had, which the packet filters' redirection shows
 * as well: from loopback alone the kernel would choose 127.0.0.1. The port is chosen at connect. A
 * socket that has a port already cannot be bound any more.
 */
static __always_inline bool swerve_keep_source(struct bpf_sock_addr *ctx, bool is_ipv4,
					       struct swerve_socket *socket,
					       const struct swerve_addr *source)
{
	bool is_ours = socket->flags & SWERVE_SOCKET_BOUND;

	if (ctx->sk->src_port || (swerve_is_zero(source) && !is_ours))
		return true;
	/* Once bound, the kernel keeps what it has for the application's choice: so this stays ours. */
	socket->flags |= SWERVE_SOCKET_BOUND;
	return swerve_bind_source(ctx, is_ipv4, source);
}

#endif
