/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* swerve_listeners.h - the maps of inbound by socket lookup (Linux 5.9): who listens. */
#ifndef SWERVE_LISTENERS_H
#define SWERVE_LISTENERS_H

#include "swerve_maps.h"

/*
 * Listener -> the port it listens on, host order. Each socket it accepts gets a copy: one whose own
 * port is another was given to it by socket lookup, whatever the plan says by now. Its own port is
 * then noted in the upper half: with its own address that is the origin, and there is no need of a
 * storage more (SWERVE_BY_KERNEL_TYPES).
 *
 * An older version's value has no upper half, and is of a socket that listens or has its origin in
 * storage: so the name is the same. What has one is never left to programs that do not know of it.
 */
#define SWERVE_LISTENING_PORT 0xffff
#define SWERVE_ASSIGNED_SHIFT 16

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, __u32);
} swerve_listening SEC(".maps");

/* Pod -> its sidecar's inbound listeners. Written at listen(2); an entry goes with its socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, SWERVE_MAX_PODS * 2 * SWERVE_LISTENER_SLOTS);
	__type(key, struct swerve_listener_key);
	__type(value, __u64);
} swerve_listeners SEC(".maps");

#endif
