// SPDX-License-Identifier: GPL-2.0-only
/*
 * peername.bpf.c - the application sees the peer it asked for.
 *
 * Hooks    cgroup/getpeername4, cgroup/getpeername6 on the pods' cgroup
 * Needs    Linux 5.8
 * Reads    swerve_sockets
 * On error leaves the kernel's answer.
 */
#include "swerve_outbound.h"

char LICENSE[] SEC("license") = "GPL";

/* The application's redirected socket, or NULL. */
static __always_inline const struct swerve_socket *redirected(struct bpf_sock_addr *ctx)
{
	const struct swerve_socket *socket = bpf_sk_storage_get(&swerve_sockets, ctx->sk, NULL, 0);

	return socket && (socket->flags & SWERVE_SOCKET_CLIENT) ? socket : NULL;
}

SEC("cgroup/getpeername4")
int swerve_getpeername4(struct bpf_sock_addr *ctx)
{
	const struct swerve_socket *socket = redirected(ctx);

	if (socket)
		swerve_set_ipv4(ctx, socket->origin.addr.word[3], socket->origin.port);
	return ALLOW;
}

SEC("cgroup/getpeername6")
int swerve_getpeername6(struct bpf_sock_addr *ctx)
{
	const struct swerve_socket *socket = redirected(ctx);

	if (socket)
		swerve_set_ipv6(ctx, &socket->origin.addr, socket->origin.port);
	return ALLOW;
}
