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
 * Hooks    cgroup/sock_create, cgroup/connect4, cgroup/connect6, cgroup/getpeername4,
 *          cgroup/getpeername6 on the pods' cgroup
 * Needs    Linux 5.8 (netns cookie and socket storage in sock_addr programs, getpeername hooks)
 * Reads    swerve_pods and its sets
 * Writes   swerve_sockets, swerve_stats
 * On error denies the connection: one that cannot be recorded must not leave the pod around the
 *          sidecar (docs/adr/0004-fail-closed.md).
 */
#include "swerve_lookup.h"

#define ALLOW 1
#define DENY 0

char LICENSE[] SEC("license") = "GPL";

/* Owner identity is who created the socket, so remember it before the program drops privileges. */
SEC("cgroup/sock_create")
int swerve_sock_create(struct bpf_sock *ctx)
{
	__u64 owner, pod = bpf_get_netns_cookie(ctx);
	struct swerve_socket *socket;

	if (ctx->protocol != IPPROTO_TCP || !bpf_map_lookup_elem(&swerve_pods, &pod))
		return ALLOW;
	socket = bpf_sk_storage_get(&swerve_sockets, ctx, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!socket) {
		swerve_count(SWERVE_STAT_STORAGE_FULL);
		return DENY;
	}
	owner = bpf_get_current_uid_gid();
	socket->flags = SWERVE_SOCKET_OWNER;
	socket->uid = owner;
	socket->gid = owner >> 32;
	return ALLOW;
}

/* Who created the socket; for one older than us, who connects it. */
static __always_inline void take_owner(const struct swerve_socket *socket,
				       struct swerve_question *ask)
{
	if (socket && (socket->flags & SWERVE_SOCKET_OWNER)) {
		ask->uid = socket->uid;
		ask->gid = socket->gid;
	} else {
		__u64 owner = bpf_get_current_uid_gid();

		ask->uid = owner;
		ask->gid = owner >> 32;
	}
}

static __always_inline bool is_bound(const struct bpf_sock_addr *ctx, bool is_ipv4)
{
	struct bpf_sock *sk = ctx->sk;

	if (sk->src_port)
		return true;
	if (is_ipv4)
		return sk->src_ip4;
	return sk->src_ip6[0] | sk->src_ip6[1] | sk->src_ip6[2] | sk->src_ip6[3];
}

/*
 * Keeps the source address the connection would have had, which the packet filters' redirection shows
 * as well: from loopback alone the kernel would choose 127.0.0.1. The port is chosen at connect.
 */
static __always_inline bool keep_source(struct bpf_sock_addr *ctx, const struct swerve_pod *pod,
					__u32 family, bool is_ipv4)
{
	const struct swerve_addr *source = &pod->source[family & 1];

	if (!(source->word[0] | source->word[1] | source->word[2] | source->word[3]) ||
	    is_bound(ctx, is_ipv4))
		return true;
	if (is_ipv4) {
		struct sockaddr_in name = { .sin_family = AF_INET };

		name.sin_addr.s_addr = source->word[3];
		return !bpf_bind(ctx, (struct sockaddr *)&name, sizeof(name));
	} else {
		struct sockaddr_in6 name = { .sin6_family = AF_INET6 };

		__builtin_memcpy(&name.sin6_addr, source, sizeof(*source));
		return !bpf_bind(ctx, (struct sockaddr *)&name, sizeof(name));
	}
}

static __always_inline void rewrite(struct bpf_sock_addr *ctx, __u32 family, bool is_ipv4,
				    __u16 port)
{
	if (is_ipv4) {
		ctx->user_ip4 = bpf_htonl(INADDR_LOOPBACK);
	} else {
		/* ::1, or for a mapped destination ::ffff:127.0.0.1 */
		ctx->user_ip6[0] = 0;
		ctx->user_ip6[1] = 0;
		ctx->user_ip6[2] = family ? 0 : bpf_htonl(0x0000ffff);
		ctx->user_ip6[3] = family ? bpf_htonl(1) : bpf_htonl(INADDR_LOOPBACK);
	}
	ctx->user_port = bpf_htons(port);
}

/* Records where the socket was going and turns it to the sidecar's `port`. */
static __always_inline int redirect(struct bpf_sock_addr *ctx, const struct swerve_pod *pod,
				    const struct swerve_addr *destination, bool is_ipv4, __u16 port)
{
	__u32 family = swerve_family(destination);
	struct swerve_socket *socket;

	socket = bpf_sk_storage_get(&swerve_sockets, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!socket) {
		swerve_count(SWERVE_STAT_STORAGE_FULL);
		return DENY;
	}
	if (!keep_source(ctx, pod, family, is_ipv4)) {
		swerve_count(SWERVE_STAT_BIND_FAILED);
		return DENY;
	}
	socket->origin.addr = *destination;
	socket->origin.port = ctx->user_port;
	socket->flags |= SWERVE_SOCKET_ORIGIN | SWERVE_SOCKET_CLIENT;
	rewrite(ctx, family, is_ipv4, port);
	return ALLOW;
}

static __always_inline int decide(struct bpf_sock_addr *ctx, const struct swerve_addr *destination,
				  bool is_ipv4)
{
	struct swerve_question ask = { .peer = *destination, .protocol = ctx->protocol };
	__u64 key = bpf_get_netns_cookie(ctx);
	const struct swerve_pod *pod = bpf_map_lookup_elem(&swerve_pods, &key);
	struct swerve_socket *socket;
	struct swerve_verdict verdict;

	if (!pod || ctx->protocol != IPPROTO_TCP)
		return ALLOW;
	socket = bpf_sk_storage_get(&swerve_sockets, ctx->sk, NULL, 0);
	if (socket) /* what an earlier connect(2) of this socket said no longer holds */
		socket->flags &= SWERVE_SOCKET_OWNER;
	take_owner(socket, &ask);
	ask.port = bpf_ntohs(ctx->user_port);
	verdict = swerve_ask_outbound(pod, &ask);
	switch (verdict.action) {
	case SWERVE_REDIRECT_OUTBOUND:
		return redirect(ctx, pod, destination, is_ipv4, pod->outbound_port);
	case SWERVE_REDIRECT_INBOUND:
		return redirect(ctx, pod, destination, is_ipv4, pod->inbound_port);
	case SWERVE_DROP:
		return DENY;
	default:
		return ALLOW;
	}
}

SEC("cgroup/connect4")
int swerve_connect4(struct bpf_sock_addr *ctx)
{
	struct swerve_addr destination;

	swerve_map_ipv4(&destination, ctx->user_ip4);
	return decide(ctx, &destination, true);
}

SEC("cgroup/connect6")
int swerve_connect6(struct bpf_sock_addr *ctx)
{
	struct swerve_addr destination = {
		.word = { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3] },
	};

	return decide(ctx, &destination, false);
}

/* The application's redirected socket, or NULL: its peer is the one it asked for. */
static __always_inline const struct swerve_socket *redirected(struct bpf_sock_addr *ctx)
{
	const struct swerve_socket *socket = bpf_sk_storage_get(&swerve_sockets, ctx->sk, NULL, 0);

	return socket && (socket->flags & SWERVE_SOCKET_CLIENT) ? socket : NULL;
}

SEC("cgroup/getpeername4")
int swerve_getpeername4(struct bpf_sock_addr *ctx)
{
	const struct swerve_socket *socket = redirected(ctx);

	if (socket) {
		ctx->user_ip4 = socket->origin.addr.word[3];
		ctx->user_port = socket->origin.port;
	}
	return ALLOW;
}

SEC("cgroup/getpeername6")
int swerve_getpeername6(struct bpf_sock_addr *ctx)
{
	const struct swerve_socket *socket = redirected(ctx);

	if (socket) {
		ctx->user_ip6[0] = socket->origin.addr.word[0];
		ctx->user_ip6[1] = socket->origin.addr.word[1];
		ctx->user_ip6[2] = socket->origin.addr.word[2];
		ctx->user_ip6[3] = socket->origin.addr.word[3];
		ctx->user_port = socket->origin.port;
	}
	return ALLOW;
}
