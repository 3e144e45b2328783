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
 * Compiled with the kernel's own types (SWERVE_BY_KERNEL_TYPES, Linux 6.2), it makes neither entry nor
 * storage for nearly all connections: an entry and a storage are two thirds of what it costs.
 *
 *   SYN leaves        application's storage --> swerve_handovers[pod, source], the application's
 *   accepted          the place is the sidecar's socket's, where getsockopt finds the origin
 *   sidecar closes    the place is free
 *   reset, still open swerve_handovers[pod, source] --> sidecar's storage, the place is free
 *   never accepted    the application's socket closes, the place is free
 *
 * It also keeps the table of the sidecar's inbound listeners, which socket lookup chooses from.
 *
 * Hook     sock_ops on the pods' cgroup
 * Needs    Linux 5.15 (netns cookie in sock_ops programs), or by attachment 5.4
 * Reads    swerve_pods and its sets, swerve_flows
 * Writes   swerve_sockets, swerve_handshakes, swerve_handovers, swerve_listeners, swerve_listening,
 *          swerve_flows, swerve_stats
 * On error counts; the sidecar then finds no origin and has nowhere to send the connection.
 */
#define SWERVE_CONTEXT bpf_sock_ops_kern

#include "swerve_handshake.h"
#include "swerve_identity.h"
#include "swerve_listen.h"

char LICENSE[] SEC("license") = "GPL";

SWERVE_ATTACHMENT(sockops);

/* A connection was accepted; if it is a redirected one, its socket learns the origin. */
static __always_inline void on_accept(struct bpf_sock_ops *ctx, __u64 key)
{
	const struct swerve_pod *pod = bpf_map_lookup_elem(&swerve_pods, &key);
	bool is_renumbered = pod && (pod->flags & SWERVE_POD_RENUMBERED);
	struct swerve_endpoint origin = {};
	__u32 flags = SWERVE_SOCKET_ORIGIN;
	bool may_be_turned = swerve_may_be_turned(ctx), is_assigned;
	struct swerve_socket *socket;

	/* Each table less is a cache miss less for those who are in none. */
	if (!may_be_turned && !pod)
		return;
	if (may_be_turned && swerve_keep(ctx, key))
		return;
	is_assigned = !may_be_turned && swerve_was_assigned(ctx);
	if (is_assigned && SWERVE_KNOWS_TYPES)
		return;
	/* Whatever the present plan, if there is one: the SYN left under the one before. */
	if (!is_assigned &&
	    swerve_take_handshake(ctx, key, is_renumbered, may_be_turned, &origin)) {
		if (!origin.port) /* the application's end of what the sidecar hands on */
			return;
	} else if (may_be_turned) {
		return;
	} else if (!(pod->flags & SWERVE_POD_SOCKET_LOOKUP) &&
		   swerve_take_flow(ctx, key, &origin)) {
		flags = origin.port ? SWERVE_SOCKET_FLOW | SWERVE_SOCKET_ORIGIN :
				      SWERVE_SOCKET_FLOW;
	} else if (!swerve_take_local(ctx, pod, is_assigned, &origin)) {
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

static __always_inline void on_close(struct bpf_sock_ops *ctx, __u64 pod)
{
	const struct swerve_socket *socket = swerve_stored(ctx, 0);

	if (socket && (socket->flags & SWERVE_CONNECTING))
		swerve_forget_handshake(ctx, pod, socket);
	else if (socket && (socket->flags & SWERVE_SOCKET_FLOW))
		swerve_forget_flow(ctx, pod, ctx->args[0]);
	else
		swerve_keep_no_more(ctx, pod);
}

/* The kernel calls for much that does not concern us; and all sockets of the node's pods. */
static __always_inline bool is_in_vain(struct bpf_sock_ops *ctx, __u32 op)
{
	if (op == BPF_SOCK_OPS_STATE_CB)
		return ctx->args[1] != BPF_TCP_CLOSE;
	/* It asks for the timeout of a SYN's answer, too; and others than ours connect. */
	if (op == BPF_SOCK_OPS_TIMEOUT_INIT)
		return !ctx->is_fullsock ||
		       !(ctx->bpf_sock_ops_cb_flags & BPF_SOCK_OPS_STATE_CB_FLAG);
	return op != BPF_SOCK_OPS_TCP_CONNECT_CB && op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB &&
	       op != BPF_SOCK_OPS_TCP_LISTEN_CB;
}

SEC("sockops")
int swerve_sockops(struct bpf_sock_ops *ctx)
{
	__u64 pod = SWERVE_POD_BEFORE(ctx, sockops);
	__u32 op = ctx->op;

	if (is_in_vain(ctx, op))
		return 1;
	pod = SWERVE_POD_WHEN_NEEDED(ctx, pod);
	switch (op) {
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
		on_close(ctx, pod);
		break;
	}
	return 1;
}
