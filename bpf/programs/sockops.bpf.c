// SPDX-License-Identifier: GPL-2.0-only
/*
 * sockops.bpf.c - carries the origin from the application's socket to the sidecar's.
 *
 *   SYN leaves        application's storage --> swerve_handshakes[pod, source]
 *   accepted          swerve_handshakes[pod, source] --> sidecar's storage, entry deleted
 *   never accepted    the application's socket closes, entry deleted
 *
 * While NAT may change the source there is a second entry, by sequence number (swerve_handshake.h).
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
#include "swerve_handshake.h"
#include "swerve_identity.h"
#include "swerve_listen.h"

char LICENSE[] SEC("license") = "GPL";

SWERVE_ATTACHMENT(sockops);

/* A connection was accepted; if it is a redirected one, its socket learns the origin. */
static __always_inline void on_accept(struct bpf_sock_ops *ctx, __u64 key)
{
	const struct swerve_pod *pod = bpf_map_lookup_elem(&swerve_pods, &key);
	struct swerve_endpoint origin = {};
	__u32 flags = SWERVE_SOCKET_ORIGIN;
	struct swerve_socket *socket;

	/* Whatever the present plan, if there is one: the SYN was turned under the one before. */
	if (swerve_take_handshake(ctx, key, pod, &origin)) {
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
	socket = swerve_stored(ctx, BPF_SK_STORAGE_GET_F_CREATE);
	if (!socket) {
		swerve_count(SWERVE_STAT_STORAGE_FULL);
		return;
	}
	socket->origin = origin;
	socket->flags |= flags;
	if (flags & SWERVE_SOCKET_FLOW)
		swerve_keep_flow(ctx, key);
}

SEC("sockops")
int swerve_sockops(struct bpf_sock_ops *ctx)
{
	__u64 pod = SWERVE_POD(ctx, sockops);
	const struct swerve_socket *socket;

	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		swerve_begin_handshake(ctx, pod);
		break;
	case BPF_SOCK_OPS_TIMEOUT_INIT:
		swerve_number_handshake(ctx, pod);
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
		socket = swerve_stored(ctx, 0);
		if (socket && (socket->flags & SWERVE_CONNECTING))
			swerve_forget_handshake(ctx, pod, socket);
		else if (socket && (socket->flags & SWERVE_SOCKET_FLOW))
			swerve_forget_flow(ctx, pod, ctx->args[0]);
		break;
	}
	return 1;
}
