// SPDX-License-Identifier: GPL-2.0-only
/*
 * owner_basic.bpf.c - who created a socket, on a kernel without BTF: its real user and group.
 *
 * The packet filters ask for the filesystem's, which owner.bpf.c records; they differ in a program
 * that is set-user-ID. For a socket that is older than the programs, who connects counts.
 *
 * Hook     cgroup/sock_create on the pods' cgroup
 * Needs    Linux 5.9 (socket storage in sock_create programs)
 * Reads    swerve_pods
 * Writes   swerve_sockets, swerve_stats
 * On error refuses the socket.
 */
#include "swerve_owner.h"

char LICENSE[] SEC("license") = "GPL";

SWERVE_ATTACHMENT(sock_create);

SEC("cgroup/sock_create")
int swerve_sock_create(struct bpf_sock *ctx)
{
	__u64 pod = SWERVE_POD(ctx, sock_create);
	__u64 owner = bpf_get_current_uid_gid();

	return swerve_on_create(ctx, pod, owner, owner >> 32, false);
}
