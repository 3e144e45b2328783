// SPDX-License-Identifier: GPL-2.0-only
/*
 * connect.bpf.c - outbound redirection, at the moment of connect(2).
 *
 * Rewriting the destination before the SYN is built costs one hash lookup per connection and nothing
 * per packet. That is the whole reason this mechanism exists; keep per-packet work out of this file.
 *
 *   application --connect(192.0.2.7:80)--> [here] --> 127.0.0.1:15001 (sidecar)
 *                                            `--> swerve_sockets[socket] = 192.0.2.7:80
 *
 * A UDP socket that is connected to a captured resolver is turned to the sidecar's DNS port likewise.
 *
 * Hooks    cgroup/connect4, cgroup/connect6 on the pods' cgroup
 * Needs    Linux 5.7 (netns cookie in sock_addr programs), or by attachment 5.4
 * Reads    swerve_pods and its sets
 * Writes   swerve_sockets, swerve_counts, swerve_stats; swerve_handshakes, to see that it has room
 * On error denies the connection: one that cannot be recorded must not leave the pod around the
 *          sidecar (docs/adr/0004-fail-closed.md).
 */
#define SWERVE_CONTEXT bpf_sock_addr_kern

#include "swerve_identity.h"
#include "swerve_outbound.h"
#include "swerve_source.h"

char LICENSE[] SEC("license") = "GPL";

SWERVE_ATTACHMENT(connect4);
SWERVE_ATTACHMENT(connect6);

/* Whether the handshake needs an entry by sequence number, as a flag of the socket; no branch. */
static __always_inline __u32 numbering(const struct swerve_pod *pod)
{
	return (pod->flags & SWERVE_POD_RENUMBERED) /
	       (SWERVE_POD_RENUMBERED / SWERVE_SOCKET_RENUMBERED);
}

/*
 * Whether the handshake may be a place, as a flag of the socket; those of cgroups' own programs may
 * not, for sock_ops would know them by another pod, nor those that NAT may renumber.
 */
static __always_inline __u32 placing(const struct swerve_pod *pod)
{
#if defined(SWERVE_BY_KERNEL_TYPES) && !defined(SWERVE_BY_ATTACHMENT)
	return pod->flags & SWERVE_POD_RENUMBERED ? 0 : SWERVE_SOCKET_PLACEABLE;
#else
	(void)pod;
	return 0;
#endif
}

/* Records where the socket was going and turns it to the sidecar's `port`. */
static __always_inline int redirect(struct bpf_sock_addr *ctx, bool is_ipv4,
				    const struct swerve_pod *pod, const struct swerve_question *ask,
				    struct swerve_socket *socket, __u16 port)
{
	struct swerve_addr source;

	if (!socket)
		socket = bpf_sk_storage_get(&swerve_sockets, ctx->sk, NULL,
					    BPF_SK_STORAGE_GET_F_CREATE);
	if (!socket) {
		swerve_count(SWERVE_STAT_STORAGE_FULL);
		return DENY;
	}
	swerve_natural_source(pod, ask, &source);
	if (swerve_is_unspecified(&ask->source) && swerve_is_unreachable(ask, &source))
		return swerve_deny(ENETUNREACH);
	if (swerve_is_unspecified(&ask->source) &&
	    !swerve_keep_source(ctx, is_ipv4, socket, &source)) {
		swerve_count(SWERVE_STAT_BIND_FAILED);
		return DENY;
	}
	socket->origin.addr = ask->peer;
	socket->origin.port = bpf_htons(ask->port);
	socket->flags |= SWERVE_SOCKET_ORIGIN | SWERVE_SOCKET_CLIENT | numbering(pod) |
			 placing(pod);
	if (ask->protocol == IPPROTO_UDP) {
		socket->asked = socket->origin;
		socket->answer_port = bpf_htons(port);
		socket->flags |= SWERVE_SOCKET_ASKED;
	}
	swerve_turn(ctx, is_ipv4, &ask->peer, port);
	return ALLOW;
}

/*
 * Whether there is room for one more handshake, with an entry by number where it needs one. Neither
 * source port nor number are known yet, and when they are, at the SYN, nobody can say no any more.
 */
static __always_inline bool has_room(struct bpf_sock_addr *ctx, __u64 pod_key,
				     const struct swerve_pod *pod)
{
	struct swerve_handshake_key key = { .pod = pod_key };
	struct swerve_handshake trial = {};
	bool is_full = false;

	/* No connection has neither port, and no two sockets the cookie. */
	trial.cookie = bpf_get_socket_cookie(ctx);
	key.addr.word[0] = trial.cookie >> 32;
	key.addr.word[1] = trial.cookie;
	if (bpf_map_update_elem(&swerve_handshakes, &key, &trial, BPF_ANY))
		return false;
	if (pod->flags & SWERVE_POD_RENUMBERED) {
		key.isn = 1;
		is_full = bpf_map_update_elem(&swerve_handshakes, &key, &trial, BPF_ANY);
		bpf_map_delete_elem(&swerve_handshakes, &key);
		key.isn = 0;
	}
	bpf_map_delete_elem(&swerve_handshakes, &key);
	return !is_full;
}

/*
 * Makes the connection known to the inbound side, which could not tell it from its client's and would
 * hand it to the sidecar again.
 */
static __always_inline bool hand_on(struct bpf_sock_addr *ctx, __u64 key,
				    const struct swerve_pod *pod)
{
	struct swerve_socket *socket =
		bpf_sk_storage_get(&swerve_sockets, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!socket) {
		swerve_count(SWERVE_STAT_STORAGE_FULL);
		return false;
	}
	if (!has_room(ctx, key, pod)) {
		swerve_count(SWERVE_STAT_HANDSHAKES_FULL);
		return false;
	}
	socket->flags |= SWERVE_SOCKET_ONWARD | numbering(pod);
	return true;
}

/* Leaves the connection alone: with a source of its own again if an earlier one was redirected. */
static __always_inline int pass(struct bpf_sock_addr *ctx, bool is_ipv4,
				struct swerve_socket *socket)
{
	struct swerve_addr none = {};

	if (socket && (socket->flags & SWERVE_SOCKET_BOUND) &&
	    !swerve_keep_source(ctx, is_ipv4, socket, &none)) {
		swerve_count(SWERVE_STAT_BIND_FAILED);
		return DENY;
	}
	return ALLOW;
}

static __always_inline __u16 sidecar_port(const struct swerve_pod *pod, __u32 action)
{
	if (action == SWERVE_REDIRECT_INBOUND)
		return pod->inbound_port;
	return action == SWERVE_REDIRECT_DNS ? pod->dns_port : pod->outbound_port;
}

static __always_inline int decide(struct bpf_sock_addr *ctx, __u64 key,
				  const struct swerve_addr *destination, bool is_ipv4)
{
	struct swerve_question ask = {
		.peer = *destination,
		.protocol = SWERVE_READ(ctx->protocol),
		.port = bpf_ntohs(SWERVE_READ(ctx->user_port)),
	};
	const struct swerve_pod *pod = bpf_map_lookup_elem(&swerve_pods, &key);
	struct swerve_socket *socket;
	struct swerve_verdict verdict;

	if (!pod || (ask.protocol != IPPROTO_TCP &&
		     (ask.protocol != IPPROTO_UDP || !(pod->flags & SWERVE_POD_DNS_UDP))))
		return ALLOW;
	socket = bpf_sk_storage_get(&swerve_sockets, ctx->sk, NULL, 0);
	if (socket) /* what an earlier connect(2) of this socket said no longer holds */
		socket->flags &= SWERVE_SOCKET_OWNER | SWERVE_SOCKET_BOUND;
	swerve_take_owner(ctx, socket, &ask);
	swerve_bound_source(ctx, is_ipv4, socket, &ask.source);
	swerve_settle(&ask);
	swerve_ask_source(pod, &ask);
	verdict = swerve_ask_outbound(pod, &ask);
	swerve_decided(key, SWERVE_OUTBOUND, verdict.reason);
	if (verdict.action == SWERVE_DROP)
		return DENY;
	if (verdict.reason == SWERVE_REASON_PASSTHROUGH && swerve_is_borrowed(pod, &ask) &&
	    !hand_on(ctx, key, pod))
		return DENY;
	if (verdict.action == SWERVE_PASS)
		return pass(ctx, is_ipv4, socket);
	return redirect(ctx, is_ipv4, pod, &ask, socket, sidecar_port(pod, verdict.action));
}

SEC("cgroup/connect4")
int swerve_connect4(struct bpf_sock_addr *ctx)
{
	__u64 pod = SWERVE_POD(ctx, connect4);
	struct swerve_addr destination;

	swerve_map_ipv4(&destination, ctx->user_ip4);
	return decide(ctx, pod, &destination, true);
}

SEC("cgroup/connect6")
int swerve_connect6(struct bpf_sock_addr *ctx)
{
	__u64 pod = SWERVE_POD(ctx, connect6);
	struct swerve_addr destination = {
		.word = { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3] },
	};

	return decide(ctx, pod, &destination, false);
}
