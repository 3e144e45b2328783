/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * swerve_listen.h - what sock_ops does for inbound by socket lookup: it finds the sidecar's listeners,
 * and tells connections that were given to them.
 */
#ifndef SWERVE_LISTEN_H
#define SWERVE_LISTEN_H

#include "swerve_lookup.h"

#ifdef SWERVE_BY_ATTACHMENT

/* Kernels that need it have no socket lookup, and workloads that are a cgroup no inbound. */
static __always_inline void swerve_on_listen(struct bpf_sock_ops *ctx, __u64 pod_key)
{
	(void)ctx;
	(void)pod_key;
}

static __always_inline bool swerve_was_assigned(struct bpf_sock_ops *ctx)
{
	(void)ctx;
	return false;
}

static __always_inline bool swerve_take_local(struct bpf_sock_ops *ctx,
					      const struct swerve_pod *pod, bool is_assigned,
					      struct swerve_endpoint *origin)
{
	(void)ctx;
	(void)pod;
	(void)is_assigned;
	(void)origin;
	return false;
}

#else

#include "swerve_listeners.h"

/* Tells a listener's port to the sockets it will accept. */
static __always_inline void swerve_note_port(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	__u32 *port =
		sk ? bpf_sk_storage_get(&swerve_listening, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE) :
		     NULL;

	if (port)
		*port = ctx->local_port;
}

/*
 * Whether socket lookup gave the connection to a listener that listens on another port. If so, its own
 * port is noted.
 */
static __always_inline bool swerve_was_assigned(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	__u32 *port = sk ? bpf_sk_storage_get(&swerve_listening, sk, NULL, 0) : NULL;

	if (!port || (*port & SWERVE_LISTENING_PORT) == ctx->local_port)
		return false;
	*port = (*port & SWERVE_LISTENING_PORT) | ctx->local_port << SWERVE_ASSIGNED_SHIFT;
	return true;
}

/* The sidecar listens on its inbound port: socket lookup may choose it. */
static __always_inline void swerve_on_listen(struct bpf_sock_ops *ctx, __u64 pod_key)
{
	struct swerve_listener_key key = { .pod = pod_key };
	const struct swerve_pod *pod = bpf_map_lookup_elem(&swerve_pods, &key.pod);
	struct swerve_addr local;
	__u32 slot;

	if (!pod || !(pod->flags & SWERVE_POD_SOCKET_LOOKUP) ||
	    ctx->local_port != pod->inbound_port)
		return;
	/* Nothing from outside the pod would reach a listener on loopback. */
	SWERVE_TAKE_ADDRESS(ctx, local, &local);
	if (swerve_is_loopback(&local))
		return;
	swerve_note_port(ctx);
	key.family = ctx->family;
	key.port = ctx->local_port;
	for (slot = 0; slot < SWERVE_LISTENER_SLOTS; slot++) {
		key.slot = slot;
		if (!bpf_sock_hash_update(ctx, &swerve_listeners, &key, BPF_NOEXIST))
			return;
	}
	/* One of many: the newest stay, for the oldest are the first to go when a sidecar reloads. */
	key.slot = bpf_get_prandom_u32() % SWERVE_LISTENER_SLOTS;
	if (bpf_sock_hash_update(ctx, &swerve_listeners, &key, BPF_ANY))
		swerve_count(SWERVE_STAT_LISTENERS_FULL);
}

/*
 * The origin of a connection that socket lookup gave to the sidecar: where it arrived. The plan may
 * have changed since the SYN: where the socket knows, it knows better than the verdict.
 */
static __always_inline bool swerve_take_local(struct bpf_sock_ops *ctx,
					      const struct swerve_pod *pod, bool is_assigned,
					      struct swerve_endpoint *origin)
{
	struct swerve_question ask = { .port = ctx->local_port };

	if (!is_assigned) {
		if (!(pod->flags & SWERVE_POD_SOCKET_LOOKUP))
			return false;
		SWERVE_TAKE_ADDRESS(ctx, remote, &ask.peer);
		if (swerve_ask_inbound(pod, &ask).action != SWERVE_REDIRECT_INBOUND)
			return false;
	}
	SWERVE_TAKE_ADDRESS(ctx, local, &origin->addr);
	origin->port = bpf_htons(ctx->local_port);
	return true;
}

#endif

#endif
