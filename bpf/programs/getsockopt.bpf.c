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
 * Reads    swerve_sockets; with the kernel's types swerve_handovers, swerve_listening
 * On error leaves the kernel's answer.
 */
#define SWERVE_CONTEXT bpf_sockopt_kern

#include "swerve_handover.h"
#include "swerve_identity.h"

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

#ifdef SWERVE_BY_KERNEL_TYPES

#include "swerve_kernel.h"
#include "swerve_listeners.h"

/* Socket lookup gave the connection to the sidecar: the socket's own address and port. */
static __always_inline bool take_own(struct bpf_sock *sk, struct swerve_endpoint *origin)
{
	const __u32 *listening = bpf_sk_storage_get(&swerve_listening, sk, NULL, 0);

	if (!listening || !(*listening >> SWERVE_ASSIGNED_SHIFT))
		return false;
	SWERVE_TAKE_ADDRESS(sk, src, &origin->addr);
	origin->port = bpf_htons(*listening >> SWERVE_ASSIGNED_SHIFT);
	return true;
}

/* A connection from inside that the socket has accepted, and still has. */
static __always_inline bool take_kept(struct bpf_sockopt *ctx, struct bpf_sock *sk,
				      struct swerve_endpoint *origin)
{
	const struct bpf_sockopt_kern *kernel = bpf_cast_to_kern_ctx(ctx);
	__u64 owner = kernel->sk->__sk_common.skc_cookie.counter | SWERVE_HANDOVER_ACCEPTED;
	struct swerve_handshake_key key = { .pod = SWERVE_POD(ctx, getsockopt) };
	struct swerve_handover *handover;

	SWERVE_TAKE_ADDRESS(sk, dst, &key.addr);
	key.port = SWERVE_READ(sk->dst_port);
	key.sidecar_port = bpf_htons(SWERVE_READ(sk->src_port));
	handover = swerve_handover_of(&key, owner);
	return handover && swerve_read_origin(handover, owner, origin);
}

static __always_inline bool take_unstored(struct bpf_sockopt *ctx, struct swerve_endpoint *origin)
{
	struct bpf_sock *sk = ctx->sk;

	return sk && (take_own(sk, origin) || take_kept(ctx, sk, origin));
}

#else

static __always_inline bool take_unstored(struct bpf_sockopt *ctx, struct swerve_endpoint *origin)
{
	(void)ctx;
	(void)origin;
	return false;
}

#endif

static __always_inline bool take_origin(struct bpf_sockopt *ctx, struct swerve_endpoint *origin)
{
	const struct swerve_socket *socket = bpf_sk_storage_get(&swerve_sockets, ctx->sk, NULL, 0);

	if (!socket)
		return take_unstored(ctx, origin);
	if (!(socket->flags & SWERVE_SOCKET_ORIGIN) || (socket->flags & SWERVE_SOCKET_CLIENT))
		return false;
	*origin = socket->origin;
	return true;
}

static __always_inline bool answer(struct bpf_sockopt *ctx)
{
	struct swerve_endpoint origin = {};

	if (!take_origin(ctx, &origin))
		return false;
	if (swerve_family(&origin.addr))
		return ctx->level == SOL_IPV6 && answer_ipv6(ctx, &origin);
	return ctx->level == SOL_IP && answer_ipv4(ctx, &origin);
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
