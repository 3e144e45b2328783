// SPDX-License-Identifier: GPL-2.0-only
/*
 * tc.bpf.c - inbound redirection where the kernel has no socket lookup: port by port, both ways.
 *
 *   peer:40000 --> pod:8080   [ingress]  peer:40000 --> pod:15003   sidecar
 *   peer:40000 <-- pod:8080   [egress]   peer:40000 <-- pod:15003   sidecar
 *
 * A SYN decides; what follows is looked up. The peer may use one port for connections to two ports of
 * the pod, which would be one connection at the sidecar: the later one gets another peer port there.
 * A connection to the sidecar's own port is kept as a flow too, for the same reason. sock_ops ends a
 * flow with its socket.
 *
 * Hook     tc (clsact) ingress and egress of the pod's interface, loaded for each pod: swerve_tc tells
 *          which
 * Needs    Linux 5.4
 * Reads    swerve_pods and its sets
 * Writes   swerve_flows, swerve_counts, swerve_stats
 * On error drops the packet: nothing reaches the application around its sidecar.
 */
#include "swerve_flow.h"
#include "swerve_packet.h"
#include <linux/pkt_cls.h>

/* Leaves the packet to whoever's filter comes next. */
#define CONTINUE TC_ACT_UNSPEC
#define DROP TC_ACT_SHOT

char LICENSE[] SEC("license") = "GPL";

const volatile struct swerve_tc_settings swerve_tc;

/* What to do with a connection that begins: enum swerve_action. */
static __always_inline __u32 decide(const struct swerve_pod *pod,
				    const struct swerve_packet *packet)
{
	struct swerve_question ask = {
		.peer = packet->source,
		.port = bpf_ntohs(packet->destination_port),
	};
	struct swerve_verdict verdict = swerve_ask_inbound(pod, &ask);

	swerve_decided(swerve_tc.pod, SWERVE_INBOUND, verdict.reason);
	if (verdict.action == SWERVE_DROP)
		return SWERVE_DROP;
	if (verdict.action != SWERVE_REDIRECT_INBOUND &&
	    (verdict.reason != SWERVE_REASON_SIDECAR_PORT || ask.port != pod->inbound_port))
		return SWERVE_PASS;
	/* What is for somebody else only passes through. */
	ask.peer = packet->destination;
	ask.networks = 0;
	if (pod->flags & SWERVE_POD_OWN_IN_SET)
		ask.networks = swerve_networks(pod, &ask.peer);
	return swerve_is_own(pod, &ask) ? SWERVE_REDIRECT_INBOUND : SWERVE_PASS;
}

/* A packet from the peer, or an error about one; else one that is for the peer. */
static __always_inline bool is_from_peer(const struct swerve_packet *packet, bool is_leaving)
{
	return packet->is_quoted == is_leaving;
}

static __always_inline void find_key(const struct swerve_packet *packet, bool is_leaving,
				     struct swerve_flow_key *key)
{
	bool from_peer = is_from_peer(packet, is_leaving);

	key->pod = swerve_tc.pod;
	key->peer = from_peer ? packet->source : packet->destination;
	key->local = from_peer ? packet->destination : packet->source;
	key->peer_port = from_peer ? packet->source_port : packet->destination_port;
	key->port = from_peer ? packet->destination_port : packet->source_port;
	key->leaving = is_leaving;
}

static __always_inline int rewrite(struct __sk_buff *ctx, const struct swerve_packet *packet,
				   bool is_leaving, const struct swerve_flow_entry *entry)
{
	bool from_peer = is_from_peer(packet, is_leaving);
	__u16 source = from_peer ? entry->peer_port : entry->port;
	__u16 destination = from_peer ? entry->port : entry->peer_port;

	return swerve_set_ports(ctx, packet, source, destination) ? DROP : CONTINUE;
}

/* Whether there is a socket for the connection as the sidecar sees it that has not seen its last ACK. */
static __always_inline bool is_half_open(struct __sk_buff *ctx,
					 const struct swerve_flow_key *leaving)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = sizeof(tuple.ipv6);
	struct bpf_sock *sk;
	bool has_begun;

	if (swerve_family(&leaving->peer)) {
		__builtin_memcpy(tuple.ipv6.saddr, &leaving->peer, sizeof(tuple.ipv6.saddr));
		__builtin_memcpy(tuple.ipv6.daddr, &leaving->local, sizeof(tuple.ipv6.daddr));
		tuple.ipv6.sport = leaving->peer_port;
		tuple.ipv6.dport = leaving->port;
	} else {
		size = sizeof(tuple.ipv4);
		tuple.ipv4.saddr = leaving->peer.word[3];
		tuple.ipv4.daddr = leaving->local.word[3];
		tuple.ipv4.sport = leaving->peer_port;
		tuple.ipv4.dport = leaving->port;
	}
	sk = bpf_skc_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return false;
	has_begun = sk->state == BPF_TCP_NEW_SYN_RECV;
	bpf_sk_release(sk);
	return has_begun;
}

/*
 * Whether NAT has redirected the SYN once already, before the programs took over, and the answer was
 * lost: attaching to a qdisc may lose packets. It is for NAT to answer again. Were it given another
 * way, the peer would have two answers, and might acknowledge the wrong one.
 */
static __always_inline bool has_nat_begun(struct __sk_buff *ctx, const struct swerve_pod *pod,
					  const struct swerve_flow_key *arriving)
{
	struct swerve_flow_key leaving = *arriving;
	const struct swerve_flow_entry *entry;

	if (!(pod->flags & SWERVE_POD_RENUMBERED))
		return false;
	leaving.leaving = 1;
	leaving.port = bpf_htons(pod->inbound_port);
	entry = bpf_map_lookup_elem(&swerve_flows, &leaving);
	return entry && entry->expires == SWERVE_FLOW_RESERVED && entry->port == arriving->port &&
	       is_half_open(ctx, &leaving);
}

/* A connection begins; `stale` is what an earlier one with the same ports has left, if any. */
static __always_inline int on_syn(struct __sk_buff *ctx, const struct swerve_packet *packet,
				  const struct swerve_flow_key *arriving,
				  const struct swerve_flow_entry *stale)
{
	struct swerve_flow_entry entry = { .peer_port = arriving->peer_port };
	__u64 key = swerve_tc.pod;
	const struct swerve_pod *pod = bpf_map_lookup_elem(&swerve_pods, &key);
	__u16 inbound_port = pod ? bpf_htons(pod->inbound_port) : 0;
	__u32 action;

	if (pod && !stale && has_nat_begun(ctx, pod, arriving))
		return CONTINUE;
	action = pod ? decide(pod, packet) : SWERVE_PASS;
	/* Switched off: what had begun goes on, and nothing begins. */
	if (stale && pod && !(pod->flags & SWERVE_POD_ENABLED) &&
	    stale->expires > bpf_ktime_get_ns())
		return rewrite(ctx, packet, false, stale);
	if (stale && action == SWERVE_REDIRECT_INBOUND && stale->port == inbound_port)
		entry.peer_port = stale->peer_port;
	else if (stale)
		swerve_delete_flow(arriving, stale);
	if (action == SWERVE_PASS)
		return CONTINUE;
	if (action == SWERVE_DROP)
		return DROP;
	if (swerve_begin_flow(arriving, inbound_port, &entry)) {
		swerve_count(SWERVE_STAT_FLOWS_FULL);
		return DROP;
	}
	return rewrite(ctx, packet, false, &entry);
}

SEC("tc")
int swerve_tc_ingress(struct __sk_buff *ctx)
{
	const struct swerve_flow_entry *entry;
	struct swerve_packet packet = {};
	struct swerve_flow_key key;
	enum swerve_parsed parsed = swerve_parse(ctx, swerve_tc.l2_length, &packet);

	if (parsed != SWERVE_PARSED_PORTS)
		return parsed == SWERVE_PARSED_HIDDEN ? DROP : CONTINUE;
	find_key(&packet, false, &key);
	entry = bpf_map_lookup_elem(&swerve_flows, &key);
	/* A SYN for a connection that lives is for its socket to answer. */
	if (packet.is_syn && !(entry && !entry->expires))
		return on_syn(ctx, &packet, &key, entry);
	return entry ? rewrite(ctx, &packet, false, entry) : CONTINUE;
}

SEC("tc")
int swerve_tc_egress(struct __sk_buff *ctx)
{
	const struct swerve_flow_entry *entry;
	struct swerve_packet packet = {};
	struct swerve_flow_key key;

	if (swerve_parse(ctx, swerve_tc.l2_length, &packet) != SWERVE_PARSED_PORTS)
		return CONTINUE;
	find_key(&packet, true, &key);
	entry = bpf_map_lookup_elem(&swerve_flows, &key);
	return entry ? rewrite(ctx, &packet, true, entry) : CONTINUE;
}
