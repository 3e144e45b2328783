/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* swerve_lookup.h - asks the maps what swerve_policy.h needs to know, and only that. */
#ifndef SWERVE_LOOKUP_H
#define SWERVE_LOOKUP_H

#include "swerve_maps.h"
#include "swerve_policy.h"
#include <bpf/bpf_endian.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <stdbool.h>

/* sys/socket.h belongs to the C library, which has no say here. */
#define AF_INET 2
#define AF_INET6 10
#define SOL_IP 0
#define SOL_IPV6 41

/*
 * Reads a context field where it is written: the optimizer would merge the reads of two branches into
 * one through a computed pointer, which the verifier refuses on a context.
 */
#define SWERVE_READ(field)                       \
	({                                       \
		__u32 value_ = (field);          \
		asm volatile("" : "+r"(value_)); \
		value_;                          \
	})

static __always_inline void swerve_map_ipv4(struct swerve_addr *addr, __u32 ipv4)
{
	addr->word[0] = 0;
	addr->word[1] = 0;
	addr->word[2] = bpf_htonl(0x0000ffff);
	addr->word[3] = ipv4;
}

/* Takes an address of a sock_ops or sk_lookup context, or a socket: `side` is local, remote, src, dst. */
#define SWERVE_TAKE_ADDRESS(ctx, side, addr)                                   \
	do {                                                                   \
		if ((ctx)->family == AF_INET) {                                \
			swerve_map_ipv4(addr, SWERVE_READ((ctx)->side##_ip4)); \
		} else {                                                       \
			(addr)->word[0] = SWERVE_READ((ctx)->side##_ip6[0]);   \
			(addr)->word[1] = SWERVE_READ((ctx)->side##_ip6[1]);   \
			(addr)->word[2] = SWERVE_READ((ctx)->side##_ip6[2]);   \
			(addr)->word[3] = SWERVE_READ((ctx)->side##_ip6[3]);   \
		}                                                              \
	} while (0)

/* The lists of the set that hold the port, a bit a list. */
static __always_inline __u32 swerve_port_lists(__u32 set, __u16 port)
{
	__u32 element = port / 64, lists = 0, i;
	struct swerve_port_words *words;
	void *inner = bpf_map_lookup_elem(&swerve_port_sets, &set);

	words = inner ? bpf_map_lookup_elem(inner, &element) : NULL;
	if (!words)
		return 0;
#pragma unroll
	for (i = 0; i < SWERVE_PORT_LISTS; i++)
		lists |= (words->word[i] >> (port % 64) & 1) << i;
	return lists;
}

/* The flags of the longest network of the pod's set that holds the address. */
static __always_inline __u32 swerve_networks(const struct swerve_pod *pod,
					     const struct swerve_addr *address)
{
	struct swerve_network_key key = { .prefixlen = 128, .addr = *address };
	__u32 set = pod->set, *flags;
	void *inner = bpf_map_lookup_elem(&swerve_network_sets, &set);

	flags = inner ? bpf_map_lookup_elem(inner, &key) : NULL;
	return flags ? *flags : 0;
}

static __always_inline const struct swerve_owner *swerve_find_owner(const struct swerve_pod *pod,
								    __u32 kind, __u32 id)
{
	struct swerve_owner_key key = {
		.prefixlen = 96,
		.set = pod->set,
		.kind = kind,
		.id = bpf_htonl(id),
	};

	return bpf_map_lookup_elem(&swerve_owners, &key);
}

static __always_inline void swerve_ask_owners(const struct swerve_pod *pod,
					      struct swerve_question *ask)
{
	const struct swerve_owner *user = swerve_find_owner(pod, SWERVE_OWNER_UID, ask->uid);
	const struct swerve_owner *group = swerve_find_owner(pod, SWERVE_OWNER_GID, ask->gid);

	if (group)
		ask->gid_flags = group->flags;
	if (!user)
		return;
	ask->uid_flags = user->flags;
	if (ask->protocol == IPPROTO_UDP)
		ask->is_port_excluded = ask->port == SWERVE_DOMAIN_PORT &&
					(user->flags & SWERVE_OWNER_NO_DNS_UDP);
	else if (user->port_set)
		ask->is_port_excluded = swerve_port_lists(user->port_set, ask->port) &
					1 << SWERVE_PORTS_OUT_EXCLUDED;
}

#define SWERVE_POD_ASKS_PORTS (SWERVE_POD_OUT_PORTS | SWERVE_POD_TUNNEL_PORTS)
#define SWERVE_POD_ASKS_NETWORKS \
	(SWERVE_POD_OUT_NETWORKS | SWERVE_POD_OWN_IN_SET | SWERVE_POD_DNS_SERVERS)

static __always_inline struct swerve_verdict swerve_ask_outbound(const struct swerve_pod *pod,
								 struct swerve_question *ask)
{
	if (pod->flags & SWERVE_POD_OWNERS)
		swerve_ask_owners(pod, ask);
	if (pod->flags & SWERVE_POD_ASKS_PORTS)
		ask->ports = swerve_port_lists(pod->set, ask->port);
	if (pod->flags & SWERVE_POD_ASKS_NETWORKS)
		ask->networks = swerve_networks(pod, &ask->peer);
	return swerve_outbound(pod, ask);
}

static __always_inline struct swerve_verdict swerve_ask_inbound(const struct swerve_pod *pod,
								struct swerve_question *ask)
{
	ask->protocol = IPPROTO_TCP;
	/* What comes from inside is decided without: every connection to the sidecar among it. */
	if (!swerve_is_inside(pod, ask)) {
		ask->ports = swerve_port_lists(pod->set, ask->port);
		if (pod->flags &
		    (SWERVE_POD_IN_NETWORKS | SWERVE_POD_OWN_IN_SET | SWERVE_POD_PASSTHROUGH))
			ask->networks = swerve_networks(pod, &ask->peer);
	}
	return swerve_inbound(pod, ask);
}

#endif
