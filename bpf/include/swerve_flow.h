/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* swerve_flow.h - the two entries of a flow that tc rewrites, kept together. */
#ifndef SWERVE_FLOW_H
#define SWERVE_FLOW_H

#include "swerve_lookup.h"
#include <linux/errno.h>

/* FIN_WAIT_2 without an owner, then TIME_WAIT: the kernel's TCP_TIMEWAIT_LEN, a minute, for each. */
#define SWERVE_TIME_WAIT_NS (120 * 1000000000ULL)

/* The reset of a socket leaves after the socket is closed, and may have to wait for a neighbor. */
#define SWERVE_RESET_NS (5 * 1000000000ULL)

/* How long an unanswered SYN is remembered. */
#define SWERVE_HALF_OPEN_NS (60 * 1000000000ULL)

/* How many of the peer's ports are tried: one is enough until it has thousands of connections. */
#define SWERVE_PORT_TRIES 8

/* The key of the one entry, from the other: a packet of this direction would become such a one. */
static __always_inline struct swerve_flow_key swerve_twin(const struct swerve_flow_key *of,
							  const struct swerve_flow_entry *entry)
{
	struct swerve_flow_key key = *of;

	key.peer_port = entry->peer_port;
	key.port = entry->port;
	key.leaving = !of->leaving;
	return key;
}

/* Gives both entries the same end; 0 for none. */
static __always_inline void swerve_set_expiry(const struct swerve_flow_key *of,
					      struct swerve_flow_entry *entry, __u64 expires)
{
	struct swerve_flow_key key = swerve_twin(of, entry);
	struct swerve_flow_entry *other = bpf_map_lookup_elem(&swerve_flows, &key);

	entry->expires = expires;
	if (other)
		other->expires = expires;
}

static __always_inline void swerve_delete_flow(const struct swerve_flow_key *of,
					       const struct swerve_flow_entry *entry)
{
	struct swerve_flow_key key = swerve_twin(of, entry);

	bpf_map_delete_elem(&swerve_flows, &key);
	bpf_map_delete_elem(&swerve_flows, of);
}

/*
 * Makes `mine` the leaving entry of a flow. -EEXIST: another connection has that peer port. A flow
 * that is there already gives `mine` its end: a retransmitted SYN changes nothing.
 */
static __always_inline long swerve_claim_port(const struct swerve_flow_key *leaving,
					      struct swerve_flow_entry *mine, __u64 now)
{
	long refused = bpf_map_update_elem(&swerve_flows, leaving, mine, BPF_NOEXIST);
	struct swerve_flow_entry *other;

	if (refused != -EEXIST)
		return refused;
	other = bpf_map_lookup_elem(&swerve_flows, leaving);
	if (!other)
		return -EEXIST;
	if (other->expires != SWERVE_FLOW_RESERVED && other->peer_port == mine->peer_port &&
	    other->port == mine->port) {
		/* Closed long ago: the new connection needs more time than is left. */
		if (other->expires && other->expires < now + SWERVE_HALF_OPEN_NS / 2)
			other->expires = mine->expires;
		mine->expires = other->expires;
		return 0;
	}
	if (!other->expires || other->expires > now)
		return -EEXIST;
	swerve_delete_flow(leaving, other);
	return bpf_map_update_elem(&swerve_flows, leaving, mine, BPF_NOEXIST);
}

/*
 * Makes both entries of a flow. `entry` comes with the peer's port to try first, and goes with what
 * to put in the packet.
 */
static __always_inline long swerve_begin_flow(const struct swerve_flow_key *arriving,
					      __u16 inbound_port, struct swerve_flow_entry *entry)
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
	for (i = 0; i < SWERVE_PORT_TRIES && refused == -EEXIST; i++) {
		if (i)
			leaving.peer_port = bpf_htons(0x8000 | (bpf_get_prandom_u32() & 0x7fff));
		mine.expires = now + SWERVE_HALF_OPEN_NS;
		refused = swerve_claim_port(&leaving, &mine, now);
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

#endif
