/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * swerve_handover.h - the places of redirected connections, from the SYN to the sidecar's close.
 *
 * A place changes hands by a compare-and-swap of its owner, and only who has claimed it writes the
 * rest. An owner is a socket's cookie, which no other socket ever has. User space only counts them.
 */
#ifndef SWERVE_HANDOVER_H
#define SWERVE_HANDOVER_H

#include "swerve_lookup.h"

#ifndef SWERVE_BY_KERNEL_TYPES

static __always_inline bool swerve_offer(const struct swerve_handshake_key *key, __u32 isn,
					 __u64 cookie, const struct swerve_endpoint *origin)
{
	(void)key;
	(void)isn;
	(void)cookie;
	(void)origin;
	return false;
}

static __always_inline void swerve_vacate(const struct swerve_handshake_key *key)
{
	(void)key;
}

static __always_inline void swerve_withdraw(const struct swerve_handshake_key *key, __u64 cookie)
{
	(void)key;
	(void)cookie;
}

#else

/* Place -> a redirected connection. Mapped by nobody; the flag puts each place on a cache line. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SWERVE_HANDOVERS);
	__type(key, __u32);
	__type(value, struct swerve_handover);
} swerve_handovers SEC(".maps");

/*
 * The first of the places a connection may have; the other ones follow. The kernel gives out a pod's
 * ports one after the other, in steps of two: so its connections' places are neighbors, too, and the
 * processor has the next ones ready.
 */
static __always_inline __u32 swerve_place(const struct swerve_handshake_key *key)
{
	__u64 mixed = key->pod ^ (__u64)key->addr.word[3] << 32 ^ key->addr.word[1] ^
		      (__u64)key->sidecar_port << 24;
	__u32 port = bpf_ntohs(key->port);

	mixed = (mixed * 0x9e3779b97f4a7c15ULL) >> 40;
	return (mixed + (port >> 1) + (port << 14)) * SWERVE_HANDOVER_WAYS % SWERVE_HANDOVERS;
}

static __always_inline __u64 swerve_owner(const struct swerve_handover *handover)
{
	return *(const volatile __u64 *)&handover->owner;
}

/* Whether it is an application's, which the sidecar has not accepted. */
static __always_inline bool swerve_is_offered(__u64 owner)
{
	return owner && !(owner & (SWERVE_HANDOVER_CLAIMED | SWERVE_HANDOVER_ACCEPTED));
}

static __always_inline bool swerve_swap(struct swerve_handover *handover, __u64 from, __u64 to)
{
	return __sync_val_compare_and_swap(&handover->owner, from, to) == from;
}

/* Whether the place is a connection's with these ports, and if `isn` is given, with this number. */
static __always_inline bool swerve_is_of(const struct swerve_handover *handover,
					 const struct swerve_handshake_key *key, const __u32 *isn)
{
	return handover->pod == key->pod && handover->port == key->port &&
	       handover->sidecar_port == key->sidecar_port && (!isn || handover->isn == *isn) &&
	       swerve_same(&handover->addr, &key->addr);
}

/*
 * Gives `to` the place that `from` has for the connection. What was read at first may have been an
 * earlier owner's, where processors load out of order; what is read between two swaps that find the
 * same owner is that owner's, for none comes back.
 */
static __always_inline bool swerve_seize(struct swerve_handover *handover,
					 const struct swerve_handshake_key *key, const __u32 *isn,
					 __u64 from, __u64 to)
{
	return swerve_is_of(handover, key, isn) && swerve_swap(handover, from, from) &&
	       swerve_is_of(handover, key, isn) && swerve_swap(handover, from, to);
}

/* The place that `owner` has, or NULL. */
static __always_inline struct swerve_handover *
swerve_handover_of(const struct swerve_handshake_key *key, __u64 owner)
{
	__u32 first = swerve_place(key), i;

#pragma unroll
	for (i = 0; i < SWERVE_HANDOVER_WAYS; i++) {
		__u32 place = first + i;
		struct swerve_handover *handover = bpf_map_lookup_elem(&swerve_handovers, &place);

		if (handover && swerve_owner(handover) == owner)
			return handover;
	}
	return NULL;
}

/* Reads the origin of what `owner` has; false if it has lost it, for its pod is gone. */
static __always_inline bool swerve_read_origin(struct swerve_handover *handover, __u64 owner,
					       struct swerve_endpoint *origin)
{
	*origin = handover->origin;
	return swerve_swap(handover, owner, owner);
}

/*
 * Claims a place that an earlier connection with these ports has left: its application's socket
 * closed without our seeing it, for a connection is not alive twice.
 */
static __always_inline struct swerve_handover *
swerve_claim_stale(const struct swerve_handshake_key *key)
{
	__u32 first = swerve_place(key), i;

#pragma unroll
	for (i = 0; i < SWERVE_HANDOVER_WAYS; i++) {
		__u32 place = first + i;
		struct swerve_handover *handover = bpf_map_lookup_elem(&swerve_handovers, &place);
		__u64 owner = handover ? swerve_owner(handover) : 0;

		if (swerve_is_offered(owner) &&
		    swerve_seize(handover, key, NULL, owner, SWERVE_HANDOVER_CLAIMED))
			return handover;
	}
	return NULL;
}

static __always_inline struct swerve_handover *
swerve_claim_free(const struct swerve_handshake_key *key)
{
	__u32 first = swerve_place(key), i;

#pragma unroll
	for (i = 0; i < SWERVE_HANDOVER_WAYS; i++) {
		__u32 place = first + i;
		struct swerve_handover *handover = bpf_map_lookup_elem(&swerve_handovers, &place);

		if (handover && !swerve_owner(handover) &&
		    swerve_swap(handover, 0, SWERVE_HANDOVER_CLAIMED))
			return handover;
	}
	return NULL;
}

/* Claims a place of a pod that has no plan any more: it may be gone, and nobody may have told. */
static __always_inline struct swerve_handover *
swerve_claim_orphan(const struct swerve_handshake_key *key)
{
	__u32 first = swerve_place(key), i;

#pragma unroll
	for (i = 0; i < SWERVE_HANDOVER_WAYS; i++) {
		__u32 place = first + i;
		struct swerve_handover *handover = bpf_map_lookup_elem(&swerve_handovers, &place);
		__u64 owner = handover ? swerve_owner(handover) : 0, pod;

		if (!owner || (owner & SWERVE_HANDOVER_CLAIMED) ||
		    !swerve_swap(handover, owner, owner))
			continue;
		pod = handover->pod;
		if (!bpf_map_lookup_elem(&swerve_pods, &pod) &&
		    swerve_swap(handover, owner, SWERVE_HANDOVER_CLAIMED))
			return handover;
	}
	return NULL;
}

/* The application's: finds a place. False: there is none. */
static __always_inline bool swerve_offer(const struct swerve_handshake_key *key, __u32 isn,
					 __u64 cookie, const struct swerve_endpoint *origin)
{
	struct swerve_handover *handover;

	/* The kernel counts down from 2^64 where making one cookie interrupts another. */
	if (!swerve_is_offered(cookie))
		return false;
	handover = swerve_claim_stale(key);
	if (!handover)
		handover = swerve_claim_free(key);
	if (!handover)
		handover = swerve_claim_orphan(key);
	if (!handover) {
		swerve_count(SWERVE_STAT_HANDOVERS_FULL);
		return false;
	}
	handover->pod = key->pod;
	handover->addr = key->addr;
	handover->port = key->port;
	handover->sidecar_port = key->sidecar_port;
	handover->origin = *origin;
	handover->isn = isn;
	__sync_lock_test_and_set(&handover->owner, cookie);
	return true;
}

/* The application's, which goes without a place: none is left with its ports. */
static __always_inline void swerve_vacate(const struct swerve_handshake_key *key)
{
	struct swerve_handover *handover = swerve_claim_stale(key);

	if (handover)
		__sync_lock_test_and_set(&handover->owner, 0);
}

/* The application's, whose socket closes: unless the sidecar has it, the place is given up. */
static __always_inline void swerve_withdraw(const struct swerve_handshake_key *key, __u64 cookie)
{
	struct swerve_handover *handover = swerve_handover_of(key, cookie);

	if (handover)
		swerve_swap(handover, cookie, 0);
}

/* The sidecar's, which has accepted: the place is now its own. */
static __always_inline bool swerve_take_offer(const struct swerve_handshake_key *key, __u32 isn,
					      __u64 cookie)
{
	__u32 first = swerve_place(key), i;

#pragma unroll
	for (i = 0; i < SWERVE_HANDOVER_WAYS; i++) {
		__u32 place = first + i;
		struct swerve_handover *handover = bpf_map_lookup_elem(&swerve_handovers, &place);
		__u64 owner = handover ? swerve_owner(handover) : 0;

		if (swerve_is_offered(owner) &&
		    swerve_seize(handover, key, &isn, owner, cookie | SWERVE_HANDOVER_ACCEPTED))
			return true;
	}
	return false;
}

#endif

#endif
