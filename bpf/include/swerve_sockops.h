/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * swerve_sockops.h - what sock_ops knows of a socket; and for inbound by tc, that a flow lives as long
 * as its socket.
 */
#ifndef SWERVE_SOCKOPS_H
#define SWERVE_SOCKOPS_H

#include "swerve_flow.h"

/* The peer's port in network order; the context holds it in the upper half of a word. */
static __always_inline __u16 swerve_remote_port(struct bpf_sock_ops *ctx)
{
	return bpf_htons(bpf_ntohl(ctx->remote_port));
}

/* Whether the socket is where connections are turned to (swerve_turn): loopback's first addresses. */
static __always_inline bool swerve_may_be_turned(struct bpf_sock_ops *ctx)
{
	struct swerve_addr local, first = {};

	SWERVE_TAKE_ADDRESS(ctx, local, &local);
	if (swerve_family(&local))
		first.word[3] = bpf_htonl(1);
	else
		swerve_map_ipv4(&first, bpf_htonl(INADDR_LOOPBACK));
	return swerve_same(&local, &first);
}

/* What is known of the socket, if anything is. */
static __always_inline struct swerve_socket *swerve_stored(struct bpf_sock_ops *ctx, __u64 flags)
{
	struct bpf_sock *sk = ctx->sk;

	return sk ? bpf_sk_storage_get(&swerve_sockets, sk, NULL, flags) : NULL;
}

/* Asks to be told of the socket's states, its close among them. */
static __always_inline void swerve_watch(struct bpf_sock_ops *ctx)
{
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

/* The sidecar's end of a flow that tc rewrites, as it leaves. */
static __always_inline struct swerve_flow_entry *swerve_flow(struct bpf_sock_ops *ctx, __u64 pod,
							     struct swerve_flow_key *key)
{
	key->pod = pod;
	SWERVE_TAKE_ADDRESS(ctx, remote, &key->peer);
	SWERVE_TAKE_ADDRESS(ctx, local, &key->local);
	key->peer_port = swerve_remote_port(ctx);
	key->port = bpf_htons(ctx->local_port);
	key->leaving = 1;
	return bpf_map_lookup_elem(&swerve_flows, key);
}

/* The origin of a connection whose port tc rewrote; port 0 where it came to the sidecar's own. */
static __always_inline bool swerve_take_flow(struct bpf_sock_ops *ctx, __u64 pod,
					     struct swerve_endpoint *origin)
{
	struct swerve_flow_key key = {};
	const struct swerve_flow_entry *entry = swerve_flow(ctx, pod, &key);

	if (!entry)
		return false;
	origin->addr = key.local;
	origin->port = entry->port == key.port ? 0 : entry->port;
	return true;
}

/* The flow lives until its socket closes, which we ask to be told of. */
static __always_inline void swerve_keep_flow(struct bpf_sock_ops *ctx, __u64 pod)
{
	struct swerve_flow_key key = {};
	struct swerve_flow_entry *entry = swerve_flow(ctx, pod, &key);

	if (entry)
		swerve_set_expiry(&key, entry, 0);
	swerve_watch(ctx);
}

/*
 * The sidecar's socket closes. When it closed first it leaves a TIME_WAIT behind that still answers
 * retransmitted FINs, so its flow lives on for as long. When the peer did, the last packet has come.
 * Any other end may be a reset, which the kernel sends after it has called us.
 */
static __always_inline void swerve_forget_flow(struct bpf_sock_ops *ctx, __u64 pod, __u32 old_state)
{
	struct swerve_flow_key key = {};
	struct swerve_flow_entry *entry = swerve_flow(ctx, pod, &key);

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
