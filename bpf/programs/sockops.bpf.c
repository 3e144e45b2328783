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
 * Needs    Linux 5.15 (netns cookie in sock_ops programs), or by attachment 5.4
 * Reads    swerve_pods and its sets, swerve_flows
 * Writes   swerve_sockets, swerve_handshakes, swerve_listeners, swerve_listening, swerve_flows,
 *          swerve_stats
 * On error counts; the sidecar then finds no origin and has nowhere to send the connection.
 */
#include "swerve_identity.h"
#include "swerve_listen.h"
#include "swerve_sockops.h"

char LICENSE[] SEC("license") = "GPL";

SWERVE_ATTACHMENT(sockops);

/* Sockets that connect to something that asks where they come from. */
#define CONNECTING (SWERVE_SOCKET_CLIENT | SWERVE_SOCKET_ONWARD)

static __always_inline struct swerve_socket *stored(struct bpf_sock_ops *ctx, __u64 flags)
{
	struct bpf_sock *sk = ctx->sk;

	return sk ? bpf_sk_storage_get(&swerve_sockets, sk, NULL, flags) : NULL;
}

/* The source the sidecar will see: the application's own end. */
static __always_inline void client_key(struct bpf_sock_ops *ctx, __u64 pod,
				       struct swerve_handshake_key *key)
{
	key->pod = pod;
	SWERVE_TAKE_ADDRESS(ctx, local, &key->addr);
	key->port = bpf_htons(ctx->local_port);
	key->sidecar_port = swerve_remote_port(ctx);
}

/* The SYN is about to leave: its source is known now. */
static __always_inline void on_connect(struct bpf_sock_ops *ctx, __u64 pod)
{
	const struct swerve_socket *socket = stored(ctx, 0);
	struct swerve_handshake_key key = {};
	struct swerve_handshake handshake = {};

	if (!socket || !(socket->flags & CONNECTING))
		return;
	client_key(ctx, pod, &key);
	handshake.cookie = bpf_get_socket_cookie(ctx);
	if (socket->flags & SWERVE_SOCKET_CLIENT)
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
	key.port = swerve_remote_port(ctx);
	key.sidecar_port = bpf_htons(ctx->local_port);
	handshake = bpf_map_lookup_elem(&swerve_handshakes, &key);
	if (!handshake)
		return false;
	*origin = handshake->origin;
	bpf_map_delete_elem(&swerve_handshakes, &key);
	return true;
}

/* A connection was accepted; if it is a redirected one, its socket learns the origin. */
static __always_inline void on_accept(struct bpf_sock_ops *ctx, __u64 key)
{
	const struct swerve_pod *pod = bpf_map_lookup_elem(&swerve_pods, &key);
	struct swerve_endpoint origin = {};
	__u32 flags = SWERVE_SOCKET_ORIGIN;
	struct swerve_socket *socket;

	/* Whatever the present plan, if there is one: the SYN was turned under the one before. */
	if (take_handshake(ctx, key, &origin)) {
		if (!origin.port) /* the application's end of what the sidecar hands on */
			return;
	} else if (!pod) {
		return;
	} else if (!(pod->flags & SWERVE_POD_SOCKET_LOOKUP) &&
		   swerve_take_flow(ctx, key, &origin)) {
		flags = origin.port ? SWERVE_SOCKET_FLOW | SWERVE_SOCKET_ORIGIN :
				      SWERVE_SOCKET_FLOW;
	} else if (!swerve_take_local(ctx, pod, &origin)) {
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
		swerve_keep_flow(ctx, key);
}

/* The application's socket closes: a handshake nobody took goes with it. */
static __always_inline void forget_handshake(struct bpf_sock_ops *ctx, __u64 pod)
{
	struct swerve_handshake_key key = {};
	const struct swerve_handshake *handshake;

	client_key(ctx, pod, &key);
	handshake = bpf_map_lookup_elem(&swerve_handshakes, &key);
	/* Another socket may have the port by now. */
	if (handshake && handshake->cookie == bpf_get_socket_cookie(ctx))
		bpf_map_delete_elem(&swerve_handshakes, &key);
}

SEC("sockops")
int swerve_sockops(struct bpf_sock_ops *ctx)
{
	__u64 pod = SWERVE_POD(ctx, sockops);
	const struct swerve_socket *socket;

	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		on_connect(ctx, pod);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		on_accept(ctx, pod);
		break;
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		swerve_on_listen(ctx, pod);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] != BPF_TCP_CLOSE)
			break;
		socket = stored(ctx, 0);
		if (socket && (socket->flags & CONNECTING))
			forget_handshake(ctx, pod);
		else if (socket && (socket->flags & SWERVE_SOCKET_FLOW))
			swerve_forget_flow(ctx, pod, ctx->args[0]);
		break;
	}
	return 1;
}
