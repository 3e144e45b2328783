// SPDX-License-Identifier: GPL-2.0-only
/*
 * sockops.bpf.c - carries the origin from the application's socket to the sidecar's.
 *
 *   SYN leaves        application's storage --> swerve_handshakes[pod, source]
 *   accepted          swerve_handshakes[pod, source] --> sidecar's storage, entry deleted
 *   never accepted    the application's socket closes, entry deleted
 *
 * It also keeps the table of the sidecar's inbound listeners, which socket lookup chooses from.
 *
 * Hook     sock_ops on the pods' cgroup
 * Needs    Linux 5.15 (netns cookie in sock_ops programs)
 * Reads    swerve_pods and its sets, swerve_flows
 * Writes   swerve_sockets, swerve_handshakes, swerve_listeners, swerve_flows, swerve_stats
 * On error counts; the sidecar then finds no origin and has nowhere to send the connection.
 */
#include "swerve_flow.h"

char LICENSE[] SEC("license") = "GPL";

/* The peer's port in network order; the context holds it in the upper half of a word. */
static __always_inline __u16 remote_port(struct bpf_sock_ops *ctx)
{
	return bpf_htons(bpf_ntohl(ctx->remote_port));
}

static __always_inline struct swerve_socket *stored(struct bpf_sock_ops *ctx, __u64 flags)
{
	struct bpf_sock *sk = ctx->sk;

	return sk ? bpf_sk_storage_get(&swerve_sockets, sk, NULL, flags) : NULL;
}

/* The source the sidecar will see: the application's own end. */
static __always_inline void client_key(struct bpf_sock_ops *ctx, struct swerve_handshake_key *key)
{
	key->pod = bpf_get_netns_cookie(ctx);
	SWERVE_TAKE_ADDRESS(ctx, local, &key->addr);
	key->port = bpf_htons(ctx->local_port);
	key->sidecar_port = remote_port(ctx);
}

/* The SYN is about to leave: its source is known now. */
static __always_inline void on_connect(struct bpf_sock_ops *ctx)
{
	const struct swerve_socket *socket = stored(ctx, 0);
	struct swerve_handshake_key key = {};
	struct swerve_handshake handshake = {};

	if (!socket || !(socket->flags & SWERVE_SOCKET_CLIENT))
		return;
	client_key(ctx, &key);
	handshake.cookie = bpf_get_socket_cookie(ctx);
	handshake.origin = socket->origin;
	if (bpf_map_update_elem(&swerve_handshakes, &key, &handshake, BPF_ANY))
		swerve_count(SWERVE_STAT_HANDSHAKES_FULL);
	else
		bpf_sock_ops_cb_flags_set(ctx,
					  ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

/* The origin of a connection from inside the pod, consumed. */
static __always_inline bool take_handshake(struct bpf_sock_ops *ctx, __u64 pod,
					   struct swerve_endpoint *origin)
{
	struct swerve_handshake_key key = { .pod = pod };
	const struct swerve_handshake *handshake;

	SWERVE_TAKE_ADDRESS(ctx, remote, &key.addr);
	key.port = remote_port(ctx);
	key.sidecar_port = bpf_htons(ctx->local_port);
	handshake = bpf_map_lookup_elem(&swerve_handshakes, &key);
	if (!handshake)
		return false;
	*origin = handshake->origin;
	bpf_map_delete_elem(&swerve_handshakes, &key);
	return true;
}

/* The origin of a connection that socket lookup gave to the sidecar: where it arrived. */
static __always_inline bool take_local(struct bpf_sock_ops *ctx, const struct swerve_pod *pod,
				       struct swerve_endpoint *origin)
{
	struct swerve_question ask = { .port = ctx->local_port };

	if (!(pod->flags & SWERVE_POD_SOCKET_LOOKUP))
		return false;
	SWERVE_TAKE_ADDRESS(ctx, remote, &ask.peer);
	if (swerve_ask_inbound(pod, &ask).action != SWERVE_REDIRECT_INBOUND)
		return false;
	SWERVE_TAKE_ADDRESS(ctx, local, &origin->addr);
	origin->port = bpf_htons(ctx->local_port);
	return true;
}

/* The sidecar's end of a flow that tc rewrites, as it leaves. */
static __always_inline struct swerve_flow_entry *flow(struct bpf_sock_ops *ctx,
						      struct swerve_flow_key *key)
{
	key->pod = bpf_get_netns_cookie(ctx);
	SWERVE_TAKE_ADDRESS(ctx, remote, &key->peer);
	SWERVE_TAKE_ADDRESS(ctx, local, &key->local);
	key->peer_port = remote_port(ctx);
	key->port = bpf_htons(ctx->local_port);
	key->leaving = 1;
	return bpf_map_lookup_elem(&swerve_flows, key);
}

/* The origin of a connection whose port tc rewrote. */
static __always_inline bool take_flow(struct bpf_sock_ops *ctx, struct swerve_endpoint *origin)
{
	struct swerve_flow_key key = {};
	const struct swerve_flow_entry *entry = flow(ctx, &key);

	if (!entry)
		return false;
	origin->addr = key.local;
	origin->port = entry->port;
	return true;
}

/* The flow lives until its socket closes, which we ask to be told of. */
static __always_inline void keep_flow(struct bpf_sock_ops *ctx)
{
	struct swerve_flow_key key = {};
	struct swerve_flow_entry *entry = flow(ctx, &key);

	if (entry)
		swerve_set_expiry(&key, entry, 0);
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

/* The ports that connect(2) may be turned to. */
static __always_inline bool is_sidecar_port(const struct swerve_pod *pod, __u32 port)
{
	return port == pod->outbound_port || port == pod->inbound_port ||
	       (pod->dns_port && port == pod->dns_port);
}

/* A connection was accepted; if it is a redirected one, its socket learns the origin. */
static __always_inline void on_accept(struct bpf_sock_ops *ctx)
{
	__u64 key = bpf_get_netns_cookie(ctx);
	const struct swerve_pod *pod = bpf_map_lookup_elem(&swerve_pods, &key);
	struct swerve_endpoint origin = {};
	__u32 flags = SWERVE_SOCKET_ORIGIN;
	struct swerve_socket *socket;

	if (!pod)
		return;
	if (!is_sidecar_port(pod, ctx->local_port) || !take_handshake(ctx, key, &origin)) {
		if (ctx->local_port == pod->inbound_port && take_flow(ctx, &origin))
			flags |= SWERVE_SOCKET_FLOW;
		else if (!take_local(ctx, pod, &origin))
			return;
	}
	socket = stored(ctx, BPF_SK_STORAGE_GET_F_CREATE);
	if (!socket) {
		swerve_count(SWERVE_STAT_STORAGE_FULL);
		return;
	}
	socket->origin = origin;
	socket->flags |= flags;
	if (flags & SWERVE_SOCKET_FLOW)
		keep_flow(ctx);
}

/* The sidecar listens on its inbound port: socket lookup may choose it. */
static __always_inline void on_listen(struct bpf_sock_ops *ctx)
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

/* The application's socket closes: a handshake nobody took goes with it. */
static __always_inline void forget_handshake(struct bpf_sock_ops *ctx)
{
	struct swerve_handshake_key key = {};
	const struct swerve_handshake *handshake;

	client_key(ctx, &key);
	handshake = bpf_map_lookup_elem(&swerve_handshakes, &key);
	/* Another socket may have the port by now. */
	if (handshake && handshake->cookie == bpf_get_socket_cookie(ctx))
		bpf_map_delete_elem(&swerve_handshakes, &key);
}

/*
 * The sidecar's socket closes. When it closed first it leaves a TIME_WAIT behind that still answers
 * retransmitted FINs, so its flow lives on for as long. When the peer did, the last packet has come.
 * Any other end may be a reset, which the kernel sends after it has called us.
 */
static __always_inline void forget_flow(struct bpf_sock_ops *ctx, __u32 old_state)
{
	struct swerve_flow_key key = {};
	struct swerve_flow_entry *entry = flow(ctx, &key);

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

SEC("sockops")
int swerve_sockops(struct bpf_sock_ops *ctx)
{
	const struct swerve_socket *socket;

	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		on_connect(ctx);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		on_accept(ctx);
		break;
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		on_listen(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] != BPF_TCP_CLOSE)
			break;
		socket = stored(ctx, 0);
		if (socket && (socket->flags & SWERVE_SOCKET_CLIENT))
			forget_handshake(ctx);
		else if (socket && (socket->flags & SWERVE_SOCKET_FLOW))
			forget_flow(ctx, ctx->args[0]);
		break;
	}
	return 1;
}
