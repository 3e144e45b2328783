// SPDX-License-Identifier: GPL-2.0-only
/*
 * multipath.bpf.c - refuses MPTCP sockets where nothing can be kept of a socket that is being made.
 *
 * Hook     cgroup/sock_create on each pod's cgroup
 * Needs    Linux 5.4; MPTCP itself is of 5.6
 * Reads    swerve_pods
 * Writes   swerve_stats
 * On error lets the socket be.
 */
#define SWERVE_BY_ATTACHMENT
#include "swerve_owner.h"

char LICENSE[] SEC("license") = "GPL";

SWERVE_ATTACHMENT(sock_create);

SEC("cgroup/sock_create")
int swerve_sock_create(struct bpf_sock *ctx)
{
	__u64 key = SWERVE_POD(ctx, sock_create);

	return bpf_map_lookup_elem(&swerve_pods, &key) && swerve_is_multipath(ctx) ? DENY : ALLOW;
}
