/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* swerve_keep.h - the place of a connection that the sidecar has accepted, until its socket closes. */
#ifndef SWERVE_KEEP_H
#define SWERVE_KEEP_H

#include "swerve_handover.h"
#include "swerve_sockops.h"

#ifndef SWERVE_BY_KERNEL_TYPES

#define SWERVE_KNOWS_TYPES false

static __always_inline __u32 swerve_first_number(struct bpf_sock_ops *ctx)
{
	(void)ctx;
	return 0;
}

static __always_inline bool swerve_keep(struct bpf_sock_ops *ctx, __u64 pod)
{
	(void)ctx;
	(void)pod;
	return false;
}

static __always_inline void swerve_keep_no_more(struct bpf_sock_ops *ctx, __u64 pod)
{
	(void)ctx;
	(void)pod;
}

#else

#include "swerve_kernel.h"

#define SWERVE_KNOWS_TYPES true

/* The first sequence number of a SYN that is about to leave; the context has it only after that. */
static __always_inline __u32 swerve_first_number(struct bpf_sock_ops *ctx)
{
	const struct bpf_sock_ops_kern *kernel = bpf_cast_to_kern_ctx(ctx);
	const struct tcp_sock *tcp =
		bpf_rdonly_cast(kernel->sk, bpf_core_type_id_kernel(struct tcp_sock));

	return tcp->write_seq;
}

/* By the sidecar's own end. */
static __always_inline void swerve_server_key(struct bpf_sock_ops *ctx, __u64 pod,
					      struct swerve_handshake_key *key)
{
	key->pod = pod;
	SWERVE_TAKE_ADDRESS(ctx, remote, &key->addr);
	key->port = swerve_remote_port(ctx);
	key->sidecar_port = bpf_htons(ctx->local_port);
}

/*
 * The sidecar has accepted: what is known of the connection stays in its place. The first sequence
 * number is what the connection is known by, whoever else had its ports, or has them by NAT.
 */
static __always_inline bool swerve_keep(struct bpf_sock_ops *ctx, __u64 pod)
{
	struct swerve_handshake_key key = {};

	swerve_server_key(ctx, pod, &key);
	if (!swerve_take_offer(&key, ctx->rcv_nxt - 1, bpf_get_socket_cookie(ctx)))
		return false;
	swerve_watch(ctx);
	return true;
}

/* Whether nobody has a descriptor of the socket any more: one that waits to be accepted will have. */
static __always_inline bool swerve_is_dead(struct bpf_sock_ops *ctx)
{
	const struct bpf_sock_ops_kern *kernel = bpf_cast_to_kern_ctx(ctx);

	return kernel->sk->__sk_common.skc_flags & 1UL << SWERVE_SOCK_DEAD;
}

static __always_inline void swerve_store_origin(struct bpf_sock_ops *ctx,
						const struct swerve_endpoint *origin)
{
	struct swerve_socket *socket = swerve_stored(ctx, BPF_SK_STORAGE_GET_F_CREATE);

	if (!socket) {
		swerve_count(SWERVE_STAT_STORAGE_FULL);
		return;
	}
	socket->origin = *origin;
	socket->flags |= SWERVE_SOCKET_ORIGIN;
}

/*
 * The sidecar's socket closes. After a reset somebody may still ask for its origin: it gets a storage
 * then, for its ports are free from now on, and so is the place. So does one that close(2) resets, for
 * the kernel calls before it marks that as dead.
 */
static __always_inline void swerve_keep_no_more(struct bpf_sock_ops *ctx, __u64 pod)
{
	__u64 owner = bpf_get_socket_cookie(ctx) | SWERVE_HANDOVER_ACCEPTED;
	struct swerve_handshake_key key = {};
	struct swerve_endpoint origin;
	struct swerve_handover *handover;

	if (!swerve_may_be_turned(ctx))
		return;
	swerve_server_key(ctx, pod, &key);
	handover = swerve_handover_of(&key, owner);
	if (!handover)
		return;
	if (!swerve_is_dead(ctx) && swerve_read_origin(handover, owner, &origin))
		swerve_store_origin(ctx, &origin);
	swerve_swap(handover, owner, 0);
}

#endif

#endif
