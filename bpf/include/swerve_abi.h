/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * swerve_abi.h - every byte that crosses between the BPF programs and user space.
 *
 * Compiled twice: by clang for the bpf target, and by Swift's importer as the module CSwerveABI.
 * There is no Swift copy of these structs to keep in step.
 *
 * Rules: fixed-width fields only, no implicit padding, every byte written. Addresses are in network
 * order, IPv4 mapped into IPv6 (::ffff:a.b.c.d), so that one code path serves both families. Ports
 * say their order. Any change of layout bumps SWERVE_ABI_VERSION. A newer version goes on with an older
 * one's maps about sockets and flows where their layout is the same, so a map whose entries change
 * their meaning, and not their size, gets another name.
 */
#ifndef SWERVE_ABI_H
#define SWERVE_ABI_H

#include <linux/types.h>

#define SWERVE_ABI_VERSION 4

/* The rule that decided: RedirectionModel's Reason, in the same order. A test compares them. */
enum swerve_reason {
	SWERVE_REASON_DISABLED,
	SWERVE_REASON_DNS,
	SWERVE_REASON_PROTOCOL,
	SWERVE_REASON_FAMILY,
	SWERVE_REASON_PASSTHROUGH,
	SWERVE_REASON_SELF_CALL,
	SWERVE_REASON_SIDECAR,
	SWERVE_REASON_LOOPBACK,
	SWERVE_REASON_OWN_ADDRESS,
	SWERVE_REASON_UID,
	SWERVE_REASON_GID,
	SWERVE_REASON_UID_PORT,
	SWERVE_REASON_INTERFACE,
	SWERVE_REASON_CIDR_EXCLUDED,
	SWERVE_REASON_PORT_EXCLUDED,
	SWERVE_REASON_NOT_INCLUDED,
	SWERVE_REASON_OUTBOUND,
	SWERVE_REASON_SIDECAR_PORT,
	SWERVE_REASON_SOURCE_EXCLUDED,
	SWERVE_REASON_INBOUND,
	SWERVE_REASONS,
};

enum swerve_action {
	SWERVE_PASS,
	SWERVE_REDIRECT_OUTBOUND,
	SWERVE_REDIRECT_INBOUND,
	SWERVE_REDIRECT_DNS,
	SWERVE_DROP,
};

struct swerve_addr {
	__u32 word[4];
};
_Static_assert(sizeof(struct swerve_addr) == 16, "swerve_addr crosses the ABI");

struct swerve_endpoint {
	struct swerve_addr addr;
	__u16 port; /* network order */
	__u16 pad;
};
_Static_assert(sizeof(struct swerve_endpoint) == 20, "swerve_endpoint crosses the ABI");

/* What a plan does with a family; index 0 is IPv4, 1 is IPv6. */
enum swerve_family_policy {
	SWERVE_FAMILY_PASS,
	SWERVE_FAMILY_MANAGED,
	SWERVE_FAMILY_DROP,
};

enum swerve_pod_flag {
	SWERVE_POD_ENABLED = 1 << 0,
	/* sidecar_uid and sidecar_gid apply */
	SWERVE_POD_SIDECAR_UID = 1 << 1,
	SWERVE_POD_SIDECAR_GID = 1 << 2,
	/* swerve_owners has more ids for this pod's set */
	SWERVE_POD_OWNERS = 1 << 3,
	/* own addresses beyond the array are in the network set */
	SWERVE_POD_OWN_IN_SET = 1 << 4,
	/* lists that are given: without these flags their maps are not asked */
	SWERVE_POD_OUT_PORTS = 1 << 5,
	SWERVE_POD_OUT_NETWORKS = 1 << 6,
	SWERVE_POD_IN_NETWORKS = 1 << 7,
	/* include lists that are given, and how they combine */
	SWERVE_POD_OUT_INCLUDED_PORTS = 1 << 8,
	SWERVE_POD_OUT_INCLUDED_NETWORKS = 1 << 9,
	SWERVE_POD_OUT_ANY = 1 << 10,
	SWERVE_POD_IN_INCLUDED_PORTS = 1 << 11,
	SWERVE_POD_IN_INCLUDED_NETWORKS = 1 << 12,
	SWERVE_POD_IN_ANY = 1 << 13,
	/* inbound connections are taken at socket lookup: no port is rewritten */
	SWERVE_POD_SOCKET_LOOKUP = 1 << 14,
	/* name lookups are captured over UDP, over TCP, and only those of servers in the network set */
	SWERVE_POD_DNS_UDP = 1 << 15,
	SWERVE_POD_DNS_TCP = 1 << 16,
	SWERVE_POD_DNS_SERVERS = 1 << 17,
	/* the sidecar's calls to the pod go through its inbound port, except on tunnel ports */
	SWERVE_POD_SELF_CALLS = 1 << 18,
	SWERVE_POD_TUNNEL_PORTS = 1 << 19,
	/* the application reaches the pod's own addresses directly */
	SWERVE_POD_PASS_OWN = 1 << 20,
	/* pass-through sources are in the network set */
	SWERVE_POD_PASSTHROUGH = 1 << 21,
	/* the sidecar may connect to the application from its client's address */
	SWERVE_POD_TRANSPARENT = 1 << 22,
	/* NAT has connections to the sidecar, and may change the source port of new ones */
	SWERVE_POD_RENUMBERED = 1 << 23,
};

#define SWERVE_OWN_ADDRESSES 4

/* swerve_pods: a plan as connect(2) meets it. The key is the pod's network namespace cookie. */
struct swerve_pod {
	__u64 fingerprint;
	__u32 flags;
	__u32 set; /* key into the set maps */
	__u32 sidecar_uid;
	__u32 sidecar_gid;
	__u16 outbound_port; /* host order */
	__u16 inbound_port; /* host order */
	__u16 dns_port; /* host order */
	__u8 family[2];
	__u8 own_count;
	__u8 pad[7];
	struct swerve_addr own[SWERVE_OWN_ADDRESSES];
	/* the source a redirected connection shows, by family; zero: the kernel's choice */
	struct swerve_addr source[2];
};
_Static_assert(sizeof(struct swerve_pod) == 136, "swerve_pod crosses the ABI");

/* The port lists of a set, a bit a port: element port / 64, word by list. */
enum swerve_port_list {
	SWERVE_PORTS_OUT_EXCLUDED,
	SWERVE_PORTS_OUT_INCLUDED,
	SWERVE_PORTS_IN_EXCLUDED,
	SWERVE_PORTS_IN_INCLUDED,
	SWERVE_PORTS_SIDECAR,
	SWERVE_PORTS_TUNNEL,
	SWERVE_PORT_LISTS,
};

struct swerve_port_words {
	__u64 word[SWERVE_PORT_LISTS];
};

#define SWERVE_PORT_ELEMENTS 1024

/*
 * The networks of a set: a longest-prefix trie over mapped addresses. An entry's flags include those
 * of every shorter prefix that covers it, for the trie finds only the longest.
 */
enum swerve_network_flag {
	SWERVE_NETWORK_OUT_EXCLUDED = 1 << 0,
	SWERVE_NETWORK_OUT_INCLUDED = 1 << 1,
	SWERVE_NETWORK_IN_EXCLUDED = 1 << 2,
	SWERVE_NETWORK_IN_INCLUDED = 1 << 3,
	SWERVE_NETWORK_OWN = 1 << 4,
	SWERVE_NETWORK_DNS_SERVER = 1 << 5,
	SWERVE_NETWORK_PASSTHROUGH = 1 << 6,
};

struct swerve_network_key {
	__u32 prefixlen;
	struct swerve_addr addr;
};

/*
 * swerve_owners: ids beyond the pod's first sidecar uid and gid, a longest-prefix trie, for a range of
 * ids is a few prefixes. No entry covers another.
 */
enum swerve_owner_kind {
	SWERVE_OWNER_UID,
	SWERVE_OWNER_GID,
};

enum swerve_owner_flag {
	SWERVE_OWNER_SIDECAR = 1 << 0,
	SWERVE_OWNER_EXCLUDED = 1 << 1,
	/* name lookups over UDP are excluded for this user */
	SWERVE_OWNER_NO_DNS_UDP = 1 << 2,
};

struct swerve_owner_key {
	__u32 prefixlen; /* 64 bits for set and kind, then those of the id */
	__u32 set;
	__u32 kind;
	__u32 id; /* network order: a trie begins at the highest bit */
};

struct swerve_owner {
	__u32 flags;
	/* the set whose SWERVE_PORTS_OUT_EXCLUDED are TCP ports excluded for this user; 0: none */
	__u32 port_set;
};
_Static_assert(sizeof(struct swerve_owner_key) == 16, "swerve_owner_key crosses the ABI");
_Static_assert(sizeof(struct swerve_owner) == 8, "swerve_owner crosses the ABI");

/* swerve_sockets: what is known of a socket, for as long as it lives (socket storage). */
enum swerve_socket_flag {
	SWERVE_SOCKET_OWNER = 1 << 0, /* uid and gid are the creator's */
	SWERVE_SOCKET_ORIGIN = 1 << 1, /* origin is where it was really going */
	SWERVE_SOCKET_CLIENT = 1 << 2, /* the application's end: it has an entry or a place */
	SWERVE_SOCKET_FLOW = 1 << 3, /* the sidecar's end: it has entries in swerve_flows */
	SWERVE_SOCKET_ASKED = 1 << 4, /* asked is the resolver its last captured query was for */
	SWERVE_SOCKET_BOUND = 1 << 5, /* its source address is ours, not the application's choice */
	SWERVE_SOCKET_ONWARD =
		1 << 6, /* the sidecar's, with a client's address: it has a handshake entry */
	SWERVE_SOCKET_RENUMBERED = 1 << 7, /* its handshake has an entry by sequence number, too */
	SWERVE_SOCKET_PLACEABLE =
		1 << 8, /* it may have a place in swerve_handovers; from its SYN on, it has */
};

struct swerve_socket {
	__u32 flags;
	__u32 uid;
	__u32 gid;
	struct swerve_endpoint origin;
	union {
		struct swerve_endpoint asked; /* over UDP */
		__u32 isn; /* over TCP: of its handshake's other entry */
	};
	__u16 answer_port; /* network order: where the sidecar answers what was asked */
	__u16 pad;
};
_Static_assert(sizeof(struct swerve_socket) == 56, "swerve_socket crosses the ABI");

/*
 * swerve_handshakes: a redirected connection between its SYN and its accept, by the source the
 * sidecar will see. Two pods may use the same loopback source: the pod is in the key.
 *
 * Where NAT may change the source port, there is a second entry by what it does not change, the
 * first sequence number. It has port 0, which is no connection's, and a sidecar_port.
 */
struct swerve_handshake_key {
	__u64 pod;
	struct swerve_addr addr;
	__u16 port; /* network order */
	__u16 sidecar_port; /* network order: an address may connect to both of them */
	__u32 isn; /* host order; 0 with a port */
};

struct swerve_handshake {
	__u64 cookie; /* of the socket that connects */
	struct swerve_endpoint origin; /* port 0: handed on by the sidecar, to be left alone */
	__u16 port; /* network order: of the source, where there are two entries; else 0 */
	__u16 pad;
};
_Static_assert(sizeof(struct swerve_handshake_key) == 32, "swerve_handshake_key crosses the ABI");
_Static_assert(sizeof(struct swerve_handshake) == 32, "swerve_handshake crosses the ABI");

/*
 * swerve_handovers: a redirected connection from its SYN until the sidecar's socket closes, where the
 * kernel's own types are known. A table of places that are claimed and given up, for that costs a
 * fraction of what an entry of a hash does, or socket storage. Who finds both of its places taken
 * goes by swerve_handshakes. Programs alone write them.
 */
#define SWERVE_HANDOVERS 65536
#define SWERVE_HANDOVER_WAYS 2

/* The owner of a place is a socket's cookie, 0 when it is free. */
#define SWERVE_HANDOVER_CLAIMED (1ULL << 62) /* being filled */
#define SWERVE_HANDOVER_ACCEPTED (1ULL << 63) /* the sidecar's socket, else the application's */

struct swerve_handover {
	__u64 owner;
	__u64 pod;
	struct swerve_addr addr; /* of the source, as in swerve_handshake_key */
	__u16 port;
	__u16 sidecar_port;
	struct swerve_endpoint origin;
	__u32 isn; /* host order: the connection's first sequence number, which tells it from others */
	__u32 pad;
};
_Static_assert(sizeof(struct swerve_handover) == 64, "a handover is a cache line, as it is mapped");

/*
 * swerve_listeners: the sidecar's inbound listeners. A group of SO_REUSEPORT listeners fills several
 * slots, so that the death of one member does not leave the pod without.
 */
#define SWERVE_LISTENER_SLOTS 8

struct swerve_listener_key {
	__u64 pod;
	__u32 family; /* AF_INET or AF_INET6 */
	__u16 port; /* host order: a new plan's listeners stand beside the old one's */
	__u16 slot;
};

/*
 * swerve_flows: inbound connections whose ports tc rewrites. Each has two entries: by what arrives
 * (port is the application's), and by what leaves (port is the sidecar's). The peer's port differs
 * between them only where two connections would otherwise become one.
 */
struct swerve_flow_key {
	__u64 pod;
	struct swerve_addr peer;
	struct swerve_addr local;
	__u16 peer_port; /* network order */
	__u16 port; /* network order */
	__u32 leaving; /* 0: by what arrives, 1: by what leaves */
};

/*
 * Of a leaving entry for no flow: NAT has a connection with these ports at the sidecar, which no other
 * may get. Its own ports are those the peer asked for; older versions wrote the key's again, which no
 * SYN is for.
 */
#define SWERVE_FLOW_RESERVED 0xffffffffffffffffULL

struct swerve_flow_entry {
	/* CLOCK_MONOTONIC ns after which sweep removes it; 0: while it lives; or SWERVE_FLOW_RESERVED,
	 * until an apply finds NAT without the connection */
	__u64 expires;
	__u16 peer_port; /* network order: what to put in the packet */
	__u16 port;
	__u32 pad;
};

/* What the programs are told about the kernel they run on. */
struct swerve_abilities {
	__u32 has_set_retval; /* a program may choose the error (Linux 5.18) */
};

/* What a pod's copy of tc.bpf.c is told; one struct, for the compiler orders variables as it likes. */
struct swerve_tc_settings {
	__u64 pod;
	__u32 l2_length; /* of the link header: 14 on Ethernet, 0 without one */
	__u32 pad;
};

/* swerve_counts: how often each rule decided for a pod, by direction; per CPU. */
enum swerve_direction {
	SWERVE_OUTBOUND,
	SWERVE_INBOUND,
	SWERVE_DIRECTIONS,
};

struct swerve_counts {
	__u64 of[SWERVE_DIRECTIONS][SWERVE_REASONS];
};
_Static_assert(sizeof(struct swerve_counts) == 320, "swerve_counts crosses the ABI");

/* swerve_stats: what went wrong, per CPU. */
enum swerve_stat {
	SWERVE_STAT_STORAGE_FULL, /* a socket could not keep its origin: denied, if it connects */
	SWERVE_STAT_HANDSHAKES_FULL, /* a handshake could not be recorded */
	SWERVE_STAT_BIND_FAILED, /* the source could not be kept: connection denied */
	SWERVE_STAT_LISTENERS_FULL, /* a listener could not be recorded */
	SWERVE_STAT_NO_LISTENER, /* inbound, and no sidecar listens: connection refused */
	SWERVE_STAT_FLOWS_FULL, /* an inbound flow could not be recorded: packet dropped */
	SWERVE_STAT_MPTCP_REFUSED, /* a multipath socket, which no hook could redirect: not made */
	SWERVE_STAT_NO_SOURCE, /* the pod has no address of the family: connection denied */
	SWERVE_STAT_HANDOVERS_FULL, /* both places were taken: the connection went by a handshake */
	SWERVE_STATS,
};

#endif
