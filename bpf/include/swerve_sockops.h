/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* swerve_sockops.h - what sock_ops does for inbound: the sidecar's listeners, and flows of tc. */
#ifndef SWERVE_SOCKOPS_H
#define SWERVE_SOCKOPS_H

#include "swerve_flow.h"

/* The peer's port in network order; the context holds it in the upper half of a word. */
static __always_inline __u16 swerve_remote_port(struct bpf_sock_ops *ctx)
{
	return bpf_htons(bpf_ntohl(ctx->remote_port));
}

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

/* Whether socket lookup gave the connection to a listener that listens on another port. */
static __always_inline bool swerve_was_assigned(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	__u32 *port = sk ? bpf_sk_storage_get(&swerve_listening, sk, NULL, 0) : NULL;

	return port && *port != ctx->local_port;
}

/* The sidecar listens on its inbound port: socket lookup may choose it. */
static __always_inline void swerve_on_listen(struct bpf_sock_ops *ctx)
{
	struct swerve_listener_key key = { .pod = bpf_get_netns_cookie(ctx) };
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

/* The sidecar's end of a flow that tc rewrites, as it leaves. */
static __always_inline struct swerve_flow_entry *swerve_flow(struct bpf_sock_ops *ctx,
							     struct swerve_flow_key *key)
{
	key->pod = bpf_get_netns_cookie(ctx);
	SWERVE_TAKE_ADDRESS(ctx, remote, &key->peer);
	SWERVE_TAKE_ADDRESS(ctx, local, &key->local);
	key->peer_port = swerve_remote_port(ctx);
	key->port = bpf_htons(ctx->local_port);
	key->leaving = 1;
	return bpf_map_lookup_elem(&swerve_flows, key);
}

/* The origin of a connection whose port tc rewrote. */
static __always_inline bool swerve_take_flow(struct bpf_sock_ops *ctx,
					     struct swerve_endpoint *origin)
{
	struct swerve_flow_key key = {};
	const struct swerve_flow_entry *entry = swerve_flow(ctx, &key);

	if (!entry)
		return false;
	origin->addr = key.local;
	origin->port = entry->port;
	return true;
}

/* The flow lives until its socket closes, which we ask to be told of. */
static __always_inline void swerve_keep_flow(struct bpf_sock_ops *ctx)
{
	struct swerve_flow_key key = {};
	struct swerve_flow_entry *entry = swerve_flow(ctx, &key);

	if (entry)
		swerve_set_expiry(&key, entry, 0);
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

/*
 * The sidecar's socket closes. When it closed first it leaves a TIME_WAIT behind that still answers
 * retransmitted FINs, so its flow lives on for as long. When the peer did, the last packet has come.
 * Any other end may be a reset, which the kernel sends after it has called us.
 */
static __always_inline void swerve_forget_flow(struct bpf_sock_ops *ctx, __u32 old_state)
{
	struct swerve_flow_key key = {};
	struct swerve_flow_entry *entry = swerve_flow(ctx, &key);

	if (!entry)
		return;
	if (old_state == BPF_TCP_LAST_ACK)
		swerve_delete_flow(&key, entry);
	else if (old_state == BPF_TCP_FIN_WAIT1 || old_state == BPF_TCP_FIN_WAIT2 ||
		 old_state == BPF_TCP_CLOSING)
		swerve_set_expiry(&key, entry, bpf_ktime_get_ns() + SWERVE_TIME_WAIT_NS);
	else
		swerve_set_expiry(&key, entry, bpf_ktime_get_ns() + SWERVE_RESET_NS);
}

#endif
