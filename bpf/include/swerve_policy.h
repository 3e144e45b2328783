/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * swerve_policy.h - the verdict, as the BPF programs compute it.
 *
 * Pure: everything a map would tell comes in as facts, so Swift imports this file and tests it
 * against RedirectionModel without a kernel. The order of the rules is docs/semantics.md's.
 */
#ifndef SWERVE_POLICY_H
#define SWERVE_POLICY_H

#include "swerve_abi.h"

/* IPPROTO_*; the headers that have them clash with the C library's where Swift imports this. */
#define SWERVE_TCP 6
#define SWERVE_UDP 17

/* The port of DNS itself (RFC 1035 4.2). */
#define SWERVE_DOMAIN_PORT 53

#if defined(__BPF__)
#define SWERVE_INLINE static inline __attribute__((always_inline))
#else
#define SWERVE_INLINE static inline
#endif

/* One flow, and what the maps say about it. */
struct swerve_question {
	struct swerve_addr peer; /* the destination outbound, the source inbound */
	struct swerve_addr source; /* outbound: what the socket is bound to; zero: an own address */
	__u32 protocol; /* IPPROTO_* */
	__u32 uid;
	__u32 gid;
	__u32 ports; /* 1 << enum swerve_port_list, for the destination port */
	__u32 networks; /* enum swerve_network_flag, for the peer */
	__u32 source_networks; /* the same for the source, outbound */
	__u32 uid_flags; /* enum swerve_owner_flag */
	__u32 gid_flags;
	__u32 is_onward; /* inbound: the sidecar hands it on, from its client's address */
	__u32 is_port_excluded; /* for this uid, over this protocol */
	__u16 port; /* destination port, host order */
	__u16 pad;
};

struct swerve_verdict {
	__u32 action; /* enum swerve_action */
	__u32 reason; /* enum swerve_reason */
};

/*
 * Comparisons of addresses are sums of differences: each branch less is half of the paths that the
 * verifier walks.
 */

/* 0 for IPv4, which is any mapped address, 1 for IPv6. */
SWERVE_INLINE __u32 swerve_family(const struct swerve_addr *addr)
{
	return (addr->word[0] | addr->word[1] | (addr->word[2] ^ __builtin_bswap32(0x0000ffff))) !=
	       0;
}

SWERVE_INLINE int swerve_same(const struct swerve_addr *a, const struct swerve_addr *b)
{
	return ((a->word[0] ^ b->word[0]) | (a->word[1] ^ b->word[1]) | (a->word[2] ^ b->word[2]) |
		(a->word[3] ^ b->word[3])) == 0;
}

/* 127.0.0.0/8 or ::1. */
SWERVE_INLINE int swerve_is_loopback(const struct swerve_addr *addr)
{
	if (!swerve_family(addr))
		return (addr->word[3] & 0xff) == 127; /* network order: the first byte */
	return (addr->word[0] | addr->word[1] | addr->word[2] |
		(addr->word[3] ^ __builtin_bswap32(1))) == 0;
}

/* 0.0.0.0 or ::. */
SWERVE_INLINE int swerve_is_unspecified(const struct swerve_addr *addr)
{
	return !addr->word[3] &&
	       (!swerve_family(addr) || !(addr->word[0] | addr->word[1] | addr->word[2]));
}

/* `networks` is what the network set says about the address. */
SWERVE_INLINE int swerve_owns(const struct swerve_pod *pod, const struct swerve_addr *addr,
			      __u32 networks)
{
	int i;

	for (i = 0; i < SWERVE_OWN_ADDRESSES; i++) {
		if (i < pod->own_count && swerve_same(&pod->own[i], addr))
			return 1;
	}
	return (networks & SWERVE_NETWORK_OWN) != 0;
}

SWERVE_INLINE int swerve_is_own(const struct swerve_pod *pod, const struct swerve_question *ask)
{
	return swerve_owns(pod, &ask->peer, ask->networks);
}

SWERVE_INLINE int swerve_is_sidecar(const struct swerve_pod *pod, const struct swerve_question *ask)
{
	if ((pod->flags & SWERVE_POD_SIDECAR_UID) && pod->sidecar_uid == ask->uid)
		return 1;
	if ((pod->flags & SWERVE_POD_SIDECAR_GID) && pod->sidecar_gid == ask->gid)
		return 1;
	return ((ask->uid_flags | ask->gid_flags) & SWERVE_OWNER_SIDECAR) != 0;
}

/* Whether include lists accept the flow; `both` are the given ones, `any` how they combine. */
SWERVE_INLINE int swerve_includes(int has_ports, int port, int has_networks, int network, int any)
{
	if (!has_ports && !has_networks)
		return 1;
	if (any)
		return (has_ports && port) || (has_networks && network);
	return (!has_ports || port) && (!has_networks || network);
}

SWERVE_INLINE struct swerve_verdict swerve_say(__u32 action, __u32 reason)
{
	struct swerve_verdict verdict = { .action = action, .reason = reason };

	return verdict;
}

/* The rules both directions begin with; `decided` tells whether one of them matched. */
SWERVE_INLINE struct swerve_verdict swerve_preamble(const struct swerve_pod *pod,
						    const struct swerve_question *ask, int *decided)
{
	__u32 family = swerve_family(&ask->peer) ? 1 : 0;

	*decided = 1;
	if (!(pod->flags & SWERVE_POD_ENABLED))
		return swerve_say(SWERVE_PASS, SWERVE_REASON_DISABLED);
	if (ask->protocol != SWERVE_TCP)
		return swerve_say(SWERVE_PASS, SWERVE_REASON_PROTOCOL);
	if (pod->family[family] == SWERVE_FAMILY_DROP)
		return swerve_say(SWERVE_DROP, SWERVE_REASON_FAMILY);
	if (pod->family[family] == SWERVE_FAMILY_PASS)
		return swerve_say(SWERVE_PASS, SWERVE_REASON_FAMILY);
	*decided = 0;
	return swerve_say(SWERVE_PASS, SWERVE_REASON_DISABLED);
}

/* Whether it is a name lookup that the plan takes. */
SWERVE_INLINE int swerve_is_captured(const struct swerve_pod *pod,
				     const struct swerve_question *ask)
{
	__u32 protocol = 0;

	if (ask->protocol == SWERVE_UDP)
		protocol = SWERVE_POD_DNS_UDP;
	else if (ask->protocol == SWERVE_TCP)
		protocol = SWERVE_POD_DNS_TCP;
	if (ask->port != SWERVE_DOMAIN_PORT || !(pod->flags & protocol))
		return 0;
	return !(pod->flags & SWERVE_POD_DNS_SERVERS) ||
	       (ask->networks & SWERVE_NETWORK_DNS_SERVER) != 0;
}

/*
 * What connect(2) and sendmsg(2) make of the unspecified address, but only after they have asked us:
 * 0.0.0.0 is the socket's own source if it has one, and else loopback; :: is loopback, of IPv4 for a
 * socket that is bound to a mapped address.
 */
SWERVE_INLINE void swerve_settle(struct swerve_question *ask)
{
	int is_ipv4 = !swerve_family(&ask->peer);

	if (!swerve_is_unspecified(&ask->peer))
		return;
	if (is_ipv4 && !swerve_is_unspecified(&ask->source)) {
		ask->peer = ask->source;
	} else if (is_ipv4 ||
		   (!swerve_is_unspecified(&ask->source) && !swerve_family(&ask->source))) {
		ask->peer.word[2] = __builtin_bswap32(0x0000ffff);
		ask->peer.word[3] = __builtin_bswap32(0x7f000001);
	} else {
		ask->peer.word[3] = __builtin_bswap32(1);
	}
}

/*
 * Whether a sidecar that accepts transparently may be handing on a connection, from the client it has
 * it from. What the pod calls itself comes from an address of its own.
 */
SWERVE_INLINE int swerve_is_borrowed(const struct swerve_pod *pod,
				     const struct swerve_question *ask)
{
	return (pod->flags & SWERVE_POD_TRANSPARENT) && !swerve_is_loopback(&ask->source) &&
	       !swerve_is_unspecified(&ask->source) &&
	       !swerve_owns(pod, &ask->source, ask->source_networks);
}

/* The rules about destinations inside the pod, and about the sidecar's own sockets. */
SWERVE_INLINE struct swerve_verdict swerve_within(const struct swerve_pod *pod,
						  const struct swerve_question *ask, int is_sidecar,
						  int *decided)
{
	int loopback = swerve_is_loopback(&ask->peer);
	int own = !loopback && swerve_is_own(pod, ask);

	*decided = 1;
	if ((loopback || own) && (ask->source_networks & SWERVE_NETWORK_PASSTHROUGH))
		return swerve_say(SWERVE_PASS, SWERVE_REASON_PASSTHROUGH);
	if (is_sidecar && own && swerve_is_borrowed(pod, ask))
		return swerve_say(SWERVE_PASS, SWERVE_REASON_PASSTHROUGH);
	if (is_sidecar && own && (pod->flags & SWERVE_POD_SELF_CALLS) &&
	    !(ask->ports & (1 << SWERVE_PORTS_TUNNEL)))
		return swerve_say(SWERVE_REDIRECT_INBOUND, SWERVE_REASON_SELF_CALL);
	if (is_sidecar)
		return swerve_say(SWERVE_PASS, SWERVE_REASON_SIDECAR);
	if (loopback)
		return swerve_say(SWERVE_PASS, SWERVE_REASON_LOOPBACK);
	if (own && (pod->flags & SWERVE_POD_PASS_OWN))
		return swerve_say(SWERVE_PASS, SWERVE_REASON_OWN_ADDRESS);
	*decided = 0;
	return swerve_say(SWERVE_PASS, SWERVE_REASON_DISABLED);
}

SWERVE_INLINE struct swerve_verdict swerve_outbound(const struct swerve_pod *pod,
						    const struct swerve_question *ask)
{
	int decided, is_sidecar = swerve_is_sidecar(pod, ask);
	__u32 ports = ask->ports, networks = ask->networks;
	struct swerve_verdict verdict;

	if ((pod->flags & SWERVE_POD_ENABLED) && !is_sidecar && !ask->is_port_excluded &&
	    swerve_is_captured(pod, ask))
		return swerve_say(SWERVE_REDIRECT_DNS, SWERVE_REASON_DNS);
	verdict = swerve_preamble(pod, ask, &decided);
	if (decided)
		return verdict;
	verdict = swerve_within(pod, ask, is_sidecar, &decided);
	if (decided)
		return verdict;
	if (ask->uid_flags & SWERVE_OWNER_EXCLUDED)
		return swerve_say(SWERVE_PASS, SWERVE_REASON_UID);
	if (ask->gid_flags & SWERVE_OWNER_EXCLUDED)
		return swerve_say(SWERVE_PASS, SWERVE_REASON_GID);
	if (ask->is_port_excluded)
		return swerve_say(SWERVE_PASS, SWERVE_REASON_UID_PORT);
	if (networks & SWERVE_NETWORK_OUT_EXCLUDED)
		return swerve_say(SWERVE_PASS, SWERVE_REASON_CIDR_EXCLUDED);
	if (ports & (1 << SWERVE_PORTS_OUT_EXCLUDED))
		return swerve_say(SWERVE_PASS, SWERVE_REASON_PORT_EXCLUDED);
	if (!swerve_includes((pod->flags & SWERVE_POD_OUT_INCLUDED_PORTS) != 0,
			     (ports & (1 << SWERVE_PORTS_OUT_INCLUDED)) != 0,
			     (pod->flags & SWERVE_POD_OUT_INCLUDED_NETWORKS) != 0,
			     (networks & SWERVE_NETWORK_OUT_INCLUDED) != 0,
			     (pod->flags & SWERVE_POD_OUT_ANY) != 0))
		return swerve_say(SWERVE_PASS, SWERVE_REASON_NOT_INCLUDED);
	return swerve_say(SWERVE_REDIRECT_OUTBOUND, SWERVE_REASON_OUTBOUND);
}

/* Whether what arrives comes from the pod itself. */
SWERVE_INLINE int swerve_is_inside(const struct swerve_pod *pod, const struct swerve_question *ask)
{
	return ask->is_onward || swerve_is_loopback(&ask->peer) || swerve_is_own(pod, ask);
}

/*
 * Inbound. A connection whose source is the pod itself, or loopback, or what the sidecar hands on
 * from, is taken to have come over the loopback interface. Elsewhere the kernel drops such sources as
 * martians, but for own ones in IPv6: whoever forges those from outside is let in, blind, for the
 * answers stay in the pod.
 */
SWERVE_INLINE struct swerve_verdict swerve_inbound(const struct swerve_pod *pod,
						   const struct swerve_question *ask)
{
	int decided, ports = ask->ports, networks = ask->networks;
	struct swerve_verdict verdict;

	if (!(pod->flags & SWERVE_POD_ENABLED))
		return swerve_say(SWERVE_PASS, SWERVE_REASON_DISABLED);
	if (swerve_is_inside(pod, ask) || (networks & SWERVE_NETWORK_PASSTHROUGH))
		return swerve_say(SWERVE_PASS, SWERVE_REASON_LOOPBACK);
	verdict = swerve_preamble(pod, ask, &decided);
	if (decided)
		return verdict;
	if (ask->port == pod->inbound_port || (ports & (1 << SWERVE_PORTS_SIDECAR)))
		return swerve_say(SWERVE_PASS, SWERVE_REASON_SIDECAR_PORT);
	if (networks & SWERVE_NETWORK_IN_EXCLUDED)
		return swerve_say(SWERVE_PASS, SWERVE_REASON_SOURCE_EXCLUDED);
	if (ports & (1 << SWERVE_PORTS_IN_EXCLUDED))
		return swerve_say(SWERVE_PASS, SWERVE_REASON_PORT_EXCLUDED);
	if (!swerve_includes((pod->flags & SWERVE_POD_IN_INCLUDED_PORTS) != 0,
			     (ports & (1 << SWERVE_PORTS_IN_INCLUDED)) != 0,
			     (pod->flags & SWERVE_POD_IN_INCLUDED_NETWORKS) != 0,
			     (networks & SWERVE_NETWORK_IN_INCLUDED) != 0,
			     (pod->flags & SWERVE_POD_IN_ANY) != 0))
		return swerve_say(SWERVE_PASS, SWERVE_REASON_NOT_INCLUDED);
	return swerve_say(SWERVE_REDIRECT_INBOUND, SWERVE_REASON_INBOUND);
}

#endif
