// SPDX-License-Identifier: GPL-2.0-only
/*
 * dns.bpf.c - name lookups over UDP sockets that are not connected, and the answers to all of them.
 *
 *   application --sendto(10.96.0.10:53)--> [sendmsg] --> 127.0.0.1:15053 (sidecar)
 *   application <--from 10.96.0.10:53----- [recvmsg] <-- 127.0.0.1:15053
 *
 * The socket remembers the resolver it asked last, and an answer comes from that one: a socket that
 * asks several at once cannot be told which of them an answer is from, for all are the sidecar.
 *
 * Hooks    cgroup/sendmsg4, cgroup/sendmsg6, cgroup/recvmsg4, cgroup/recvmsg6 on the pods' cgroup
 * Needs    Linux 5.7 (netns cookie in sock_addr programs), or by attachment 5.4
 * Reads    swerve_pods and its sets
 * Writes   swerve_sockets, swerve_counts, swerve_stats
 * On error denies the datagram.
 */
#define SWERVE_CONTEXT bpf_sock_addr_kern

#include "swerve_identity.h"
#include "swerve_outbound.h"

char LICENSE[] SEC("license") = "GPL";

SWERVE_ATTACHMENT(sendmsg4);
SWERVE_ATTACHMENT(sendmsg6);

/*
 * Turns a query to the sidecar and remembers whom it was for. `source` is what the datagram is bound
 * to, and becomes what it would have had.
 */
static __always_inline int capture(struct bpf_sock_addr *ctx, __u64 key, bool is_ipv4,
				   const struct swerve_addr *destination,
				   struct swerve_addr *source)
{
	struct swerve_question ask = {
		.peer = *destination,
		.source = *source,
		.protocol = SWERVE_READ(ctx->protocol),
		.port = bpf_ntohs(SWERVE_READ(ctx->user_port)),
	};
	const struct swerve_pod *pod = bpf_map_lookup_elem(&swerve_pods, &key);
	struct swerve_socket *socket;
	struct swerve_verdict verdict;

	if (!pod || !(pod->flags & SWERVE_POD_DNS_UDP) || ask.protocol != IPPROTO_UDP ||
	    ask.port != SWERVE_DOMAIN_PORT)
		return ALLOW;
	swerve_settle(&ask);
	swerve_take_owner(ctx, bpf_sk_storage_get(&swerve_sockets, ctx->sk, NULL, 0), &ask);
	verdict = swerve_ask_outbound(pod, &ask);
	swerve_decided(key, SWERVE_OUTBOUND, verdict.reason);
	if (verdict.action != SWERVE_REDIRECT_DNS)
		return ALLOW;
	if (swerve_is_unspecified(source)) {
		swerve_natural_source(pod, &ask, source);
		if (swerve_is_unreachable(&ask, source))
			return swerve_deny(ENETUNREACH);
	}
	socket = bpf_sk_storage_get(&swerve_sockets, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!socket) {
		swerve_count(SWERVE_STAT_STORAGE_FULL);
		return DENY;
	}
	socket->asked.addr = ask.peer;
	socket->asked.port = bpf_htons(ask.port);
	socket->answer_port = bpf_htons(pod->dns_port);
	socket->flags |= SWERVE_SOCKET_ASKED;
	swerve_turn(ctx, is_ipv4, &ask.peer, pod->dns_port);
	return ALLOW;
}

SEC("cgroup/sendmsg4")
int swerve_sendmsg4(struct bpf_sock_addr *ctx)
{
	__u64 pod = SWERVE_POD(ctx, sendmsg4);
	struct swerve_addr destination, source;
	int answer;

	swerve_map_ipv4(&destination, ctx->user_ip4);
	swerve_map_ipv4(&source, ctx->msg_src_ip4);
	answer = capture(ctx, pod, true, &destination, &source);
	ctx->msg_src_ip4 = source.word[3];
	return answer;
}

SEC("cgroup/sendmsg6")
int swerve_sendmsg6(struct bpf_sock_addr *ctx)
{
	__u64 pod = SWERVE_POD(ctx, sendmsg6);
	struct swerve_addr destination = {
		.word = { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3] },
	};
	struct swerve_addr source = {
		.word = { ctx->msg_src_ip6[0], ctx->msg_src_ip6[1], ctx->msg_src_ip6[2],
			  ctx->msg_src_ip6[3] },
	};
	int answer = capture(ctx, pod, false, &destination, &source);

	ctx->msg_src_ip6[0] = source.word[0];
	ctx->msg_src_ip6[1] = source.word[1];
	ctx->msg_src_ip6[2] = source.word[2];
	ctx->msg_src_ip6[3] = source.word[3];
	return answer;
}

/* What the socket asked, if a datagram from `source` is an answer to it; else NULL. */
static __always_inline const struct swerve_endpoint *asked(struct bpf_sock_addr *ctx,
							   const struct swerve_addr *source)
{
	const struct swerve_socket *socket = bpf_sk_storage_get(&swerve_sockets, ctx->sk, NULL, 0);

	if (!socket || !(socket->flags & SWERVE_SOCKET_ASKED) || !swerve_is_loopback(source) ||
	    ctx->user_port != socket->answer_port)
		return NULL;
	return &socket->asked;
}

SEC("cgroup/recvmsg4")
int swerve_recvmsg4(struct bpf_sock_addr *ctx)
{
	const struct swerve_endpoint *resolver;
	struct swerve_addr source;

	swerve_map_ipv4(&source, ctx->user_ip4);
	resolver = asked(ctx, &source);
	if (resolver)
		swerve_set_ipv4(ctx, resolver->addr.word[3], resolver->port);
	return ALLOW;
}

SEC("cgroup/recvmsg6")
int swerve_recvmsg6(struct bpf_sock_addr *ctx)
{
	const struct swerve_endpoint *resolver;
	struct swerve_addr source = {
		.word = { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3] },
	};

	resolver = asked(ctx, &source);
	if (resolver)
		swerve_set_ipv6(ctx, &resolver->addr, resolver->port);
	return ALLOW;
}
