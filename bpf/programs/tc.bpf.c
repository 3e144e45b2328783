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
 * Hook     tc (clsact) ingress and egress of the pod's interface, loaded for each pod: its key is in
 *          the read-only data
 * Needs    Linux 5.4
 * Reads    swerve_pods and its sets
 * Writes   swerve_flows, swerve_stats
 * On error drops the packet: nothing reaches the application around its sidecar.
 */
#include "swerve_flow.h"
#include "swerve_packet.h"
#include <linux/errno.h>
#include <linux/pkt_cls.h>

/* Leaves the packet to whoever's filter comes next. */
#define CONTINUE TC_ACT_UNSPEC
#define DROP TC_ACT_SHOT

/* How long an unanswered SYN is remembered. */
#define HALF_OPEN_NS (60 * 1000000000ULL)
#define PORT_TRIES 16

char LICENSE[] SEC("license") = "GPL";

const volatile __u64 swerve_pod_key;
const volatile __u32 swerve_l2_length;

/* What to do with a connection that begins: enum swerve_action. */
static __always_inline __u32 decide(const struct swerve_pod *pod, const struct swerve_packet *packet)
{
	struct swerve_question ask = {
		.peer = packet->source,
		.port = bpf_ntohs(packet->destination_port),
	};
	struct swerve_verdict verdict = swerve_ask_inbound(pod, &ask);

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

/*
 * Makes `mine` the leaving entry of a flow. -EEXIST: another connection has that peer port. A flow
 * that is there already gives `mine` its end: a retransmitted SYN changes nothing.
 */
static __always_inline long claim(const struct swerve_flow_key *leaving,
				  struct swerve_flow_entry *mine, __u64 now)
{
	long refused = bpf_map_update_elem(&swerve_flows, leaving, mine, BPF_NOEXIST);
	struct swerve_flow_entry *other;

	if (refused != -EEXIST)
		return refused;
	other = bpf_map_lookup_elem(&swerve_flows, leaving);
	if (!other)
		return -EEXIST;
	if (other->peer_port == mine->peer_port && other->port == mine->port) {
		/* Closed long ago: the new connection needs more time than is left. */
		if (other->expires && other->expires < now + HALF_OPEN_NS / 2)
			other->expires = mine->expires;
		mine->expires = other->expires;
		return 0;
	}
	if (!other->expires || other->expires > now)
		return -EEXIST;
	swerve_delete_flow(leaving, other);
	return bpf_map_update_elem(&swerve_flows, leaving, mine, BPF_NOEXIST);
}

/* Makes both entries of a flow; the arriving one is handed back in `entry`. */
static __always_inline long begin(const struct swerve_flow_key *arriving, __u16 inbound_port,
				  struct swerve_flow_entry *entry)
{
	struct swerve_flow_key leaving = *arriving;
	struct swerve_flow_entry mine = {
		.peer_port = arriving->peer_port,
		.port = arriving->port,
	};
	__u64 now = bpf_ktime_get_ns();
	long refused = -EEXIST;
	__u32 i;

	leaving.leaving = 1;
	leaving.port = inbound_port;
	leaving.peer_port = entry->peer_port;
	for (i = 0; i < PORT_TRIES && refused == -EEXIST; i++) {
		if (i)
			leaving.peer_port = bpf_htons(0x8000 | (bpf_get_prandom_u32() & 0x7fff));
		mine.expires = now + HALF_OPEN_NS;
		refused = claim(&leaving, &mine, now);
	}
	if (refused)
		return refused;
	entry->expires = mine.expires;
	entry->peer_port = leaving.peer_port;
	entry->port = inbound_port;
	entry->pad = 0;
	refused = bpf_map_update_elem(&swerve_flows, arriving, entry, BPF_ANY);
	if (refused)
		bpf_map_delete_elem(&swerve_flows, &leaving);
	return refused;
}

static __always_inline int rewrite(struct __sk_buff *ctx, const struct swerve_packet *packet,
				   __u16 source, __u16 destination)
{
	return swerve_set_ports(ctx, packet, source, destination) ? DROP : CONTINUE;
}

/* A connection begins; `stale` is what an earlier one with the same ports has left, if any. */
static __always_inline int on_syn(struct __sk_buff *ctx, const struct swerve_packet *packet,
				  const struct swerve_flow_key *arriving,
				  const struct swerve_flow_entry *stale)
{
	struct swerve_flow_entry entry = { .peer_port = arriving->peer_port };
	__u64 key = swerve_pod_key;
	const struct swerve_pod *pod = bpf_map_lookup_elem(&swerve_pods, &key);
	__u32 action = pod ? decide(pod, packet) : SWERVE_PASS;
	__u16 inbound_port = pod ? bpf_htons(pod->inbound_port) : 0;

	if (stale && action == SWERVE_REDIRECT_INBOUND && stale->port == inbound_port)
		entry.peer_port = stale->peer_port;
	else if (stale)
		swerve_delete_flow(arriving, stale);
	if (action == SWERVE_PASS)
		return CONTINUE;
	if (action == SWERVE_DROP)
		return DROP;
	if (begin(arriving, inbound_port, &entry)) {
		swerve_count(SWERVE_STAT_FLOWS_FULL);
		return DROP;
	}
	return rewrite(ctx, packet, entry.peer_port, entry.port);
}

SEC("tc")
int swerve_tc_ingress(struct __sk_buff *ctx)
{
	struct swerve_flow_key key = { .pod = swerve_pod_key };
	const struct swerve_flow_entry *entry;
	struct swerve_packet packet = {};
	enum swerve_parsed parsed = swerve_parse(ctx, swerve_l2_length, &packet);

	if (parsed != SWERVE_PARSED_TCP)
		return parsed == SWERVE_PARSED_HIDDEN ? DROP : CONTINUE;
	key.peer = packet.source;
	key.local = packet.destination;
	key.peer_port = packet.source_port;
	key.port = packet.destination_port;
	entry = bpf_map_lookup_elem(&swerve_flows, &key);
	/* A SYN for a connection that lives is for its socket to answer. */
	if (packet.is_syn && !(entry && !entry->expires))
		return on_syn(ctx, &packet, &key, entry);
	return entry ? rewrite(ctx, &packet, entry->peer_port, entry->port) : CONTINUE;
}

SEC("tc")
int swerve_tc_egress(struct __sk_buff *ctx)
{
	struct swerve_flow_key key = { .pod = swerve_pod_key, .leaving = 1 };
	const struct swerve_flow_entry *entry;
	struct swerve_packet packet = {};

	if (swerve_parse(ctx, swerve_l2_length, &packet) != SWERVE_PARSED_TCP)
		return CONTINUE;
	key.peer = packet.destination;
	key.local = packet.source;
	key.peer_port = packet.destination_port;
	key.port = packet.source_port;
	entry = bpf_map_lookup_elem(&swerve_flows, &key);
	return entry ? rewrite(ctx, &packet, entry->port, entry->peer_port) : CONTINUE;
}
