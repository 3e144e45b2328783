/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * swerve_maps.h - the maps the programs of a node share.
 *
 * Every object declares those it uses; the loader makes each once and hands it to the others.
 * Only hash maps that are not preallocated: an unused entry costs nothing. The one array beside them
 * is swerve_handovers (swerve_handover.h), where the kernel's types are known.
 */
#ifndef SWERVE_MAPS_H
#define SWERVE_MAPS_H

#include "swerve_abi.h"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define SWERVE_MAX_PODS 4096
#define SWERVE_MAX_PORT_SETS 65536
#define SWERVE_MAX_HANDSHAKES 262144
#define SWERVE_MAX_FLOWS 524288

/* Pod key -> its plan. Written by the agent; read by every program. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SWERVE_MAX_PODS);
	__type(key, __u64);
	__type(value, struct swerve_pod);
} swerve_pods SEC(".maps");

struct swerve_inner_ports {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SWERVE_PORT_ELEMENTS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct swerve_port_words));
};

/* Set -> its port lists. Written by the agent before the pod, or the owner, that names the set. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SWERVE_MAX_PORT_SETS);
	__type(key, __u32);
	__array(values, struct swerve_inner_ports);
} swerve_port_sets SEC(".maps");

struct swerve_inner_networks {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__uint(key_size, sizeof(struct swerve_network_key));
	__uint(value_size, sizeof(__u32));
};

/* Set -> its networks. Written by the agent before the pod that names the set. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, SWERVE_MAX_PODS);
	__type(key, __u32);
	__array(values, struct swerve_inner_networks);
} swerve_network_sets SEC(".maps");

/* Set and id -> what the id is. Written by the agent before the pod that names the set. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct swerve_owner_key);
	__type(value, struct swerve_owner);
} swerve_owners SEC(".maps");

/* Socket -> what is known of it. Written at socket(2), connect(2) and accept; gone with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct swerve_socket);
} swerve_sockets SEC(".maps");

/*
 * Pod and source -> origin, from the SYN to the accept. Deleted by the accept, or by the close of the
 * application's socket when there is none.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SWERVE_MAX_HANDSHAKES);
	__type(key, struct swerve_handshake_key);
	__type(value, struct swerve_handshake);
} swerve_handshakes SEC(".maps");

/* Flow -> the ports to put in its packets. Written by tc ingress; see swerve_flow_key. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SWERVE_MAX_FLOWS);
	__type(key, struct swerve_flow_key);
	__type(value, struct swerve_flow_entry);
} swerve_flows SEC(".maps");

/* Pod key -> which rules decided. Made by the agent before the pod's entry; gone after it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SWERVE_MAX_PODS);
	__type(key, __u64);
	__type(value, struct swerve_counts);
} swerve_counts SEC(".maps");

/* enum swerve_stat -> how often. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SWERVE_STATS);
	__type(key, __u32);
	__type(value, __u64);
} swerve_stats SEC(".maps");

static __always_inline void swerve_count(__u32 stat)
{
	__u64 *counter = bpf_map_lookup_elem(&swerve_stats, &stat);

	if (counter)
		*counter += 1;
}

/*
 * Counts a decision: once a connection, never once a packet of it. Inbound, a SYN that is sent again
 * because no answer came is decided, and counted, again.
 */
static __always_inline void swerve_decided(__u64 pod, enum swerve_direction direction, __u32 reason)
{
	struct swerve_counts *counts = bpf_map_lookup_elem(&swerve_counts, &pod);
	__u64 row = reason;

	/* Before Linux 5.11 a bound that is found on a copy is not known of the register it is from. */
	asm volatile("if %[row] < %[rows] goto +1\n\t"
		     "%[row] = 0"
		     : [row] "+r"(row)
		     : [rows] "i"(SWERVE_REASONS));
	if (counts)
		counts->of[direction][row] += 1;
}

#endif
