// SPDX-License-Identifier: GPL-2.0-only
/*
 * getsockopt.bpf.c - answers SO_ORIGINAL_DST as the kernel's NAT would.
 *
 * The kernel has run getsockopt(2) already and found no translated connection. For a socket that has
 * an origin, and only for the one option at the level of the origin's family, its answer is replaced:
 * result 0, a sockaddr, and the length the caller asked with, for that is what the NAT's handler does.
 * Bytes the caller gave room for beyond the sockaddr become zero.
 *
 * Hook     cgroup/getsockopt on the pods' cgroup
 * Needs    Linux 5.4
 * Reads    swerve_sockets
 * On error leaves the kernel's answer.
 */
#include "swerve_lookup.h"

/* linux/netfilter_ipv4.h and linux/netfilter_ipv6/ip6_tables.h: the same number at two levels. */
#define SO_ORIGINAL_DST 80
#define PAGE_SIZE 4096

char LICENSE[] SEC("license") = "GPL";

static __always_inline bool answer_ipv4(struct bpf_sockopt *ctx,
					const struct swerve_endpoint *origin)
{
	struct sockaddr_in *name = ctx->optval;

	if ((void *)(name + 1) > ctx->optval_end)
		return false;
	__builtin_memset(name, 0, sizeof(*name));
	name->sin_family = AF_INET;
	name->sin_port = origin->port;
	name->sin_addr.s_addr = origin->addr.word[3];
	return true;
}

static __always_inline bool answer_ipv6(struct bpf_sockopt *ctx,
					const struct swerve_endpoint *origin)
{
	struct sockaddr_in6 *name = ctx->optval;

	if ((void *)(name + 1) > ctx->optval_end)
		return false;
	__builtin_memset(name, 0, sizeof(*name));
	name->sin6_family = AF_INET6;
	name->sin6_port = origin->port;
	__builtin_memcpy(&name->sin6_addr, &origin->addr, sizeof(origin->addr));
	return true;
}

static __always_inline bool answer(struct bpf_sockopt *ctx)
{
	const struct swerve_socket *socket = bpf_sk_storage_get(&swerve_sockets, ctx->sk, NULL, 0);

	if (!socket || !(socket->flags & SWERVE_SOCKET_ORIGIN) ||
	    (socket->flags & SWERVE_SOCKET_CLIENT))
		return false;
	if (swerve_family(&socket->origin.addr))
		return ctx->level == SOL_IPV6 && answer_ipv6(ctx, &socket->origin);
	return ctx->level == SOL_IP && answer_ipv4(ctx, &socket->origin);
}

SEC("cgroup/getsockopt")
int swerve_getsockopt(struct bpf_sockopt *ctx)
{
	bool answered = ctx->optname == SO_ORIGINAL_DST && answer(ctx);

	if (answered)
		ctx->retval = 0;
	/*
	 * The kernel shows us at most a page. Zero means that its own buffer is right as it is;
	 * anything else would fail or shorten other people's long options.
	 */
	if (!answered && ctx->optlen > PAGE_SIZE)
		ctx->optlen = 0;
	else if (answered && ctx->optlen > PAGE_SIZE)
		ctx->optlen = PAGE_SIZE;
	return 1;
}
