/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* swerve_flow.h - the two entries of a flow that tc rewrites, kept together. */
#ifndef SWERVE_FLOW_H
#define SWERVE_FLOW_H

#include "swerve_lookup.h"

/* FIN_WAIT_2 without an owner, then TIME_WAIT: the kernel's TCP_TIMEWAIT_LEN, a minute, for each. */
#define SWERVE_TIME_WAIT_NS (120 * 1000000000ULL)

/* The reset of a socket leaves after the socket is closed, and may have to wait for a neighbor. */
#define SWERVE_RESET_NS (5 * 1000000000ULL)

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

#endif
