// SPDX-License-Identifier: GPL-2.0-only
/*
 * owner.bpf.c - who created a socket, exactly as the packet filters' owner match has it.
 *
 * netfilter asks for the filesystem user and group of the credentials that the socket's file was
 * opened with, and so do we: at socket(2) those are the caller's. Of a socket that has no record the
 * programs that decide ask the file (swerve_outbound.h): one that is older than these programs, or the
 * sidecar's, which is not worth a storage.
 *
 * What is kept of others' sockets makes room for what connect(2) will keep, while nobody waits for it.
 *
 * Hook     cgroup/sock_create on the pods' cgroup
 * Needs    Linux 6.2 with BTF (bpf_cast_to_kern_ctx); owner_basic.bpf.c is for others
 * Reads    swerve_pods
 * Writes   swerve_sockets, swerve_stats
 * On error refuses the socket, or leaves it without a record.
 */
#include "swerve_kernel.h"
#include "swerve_owner.h"

char LICENSE[] SEC("license") = "GPL";

SWERVE_ATTACHMENT(sock_owner);

SEC("cgroup/sock_create")
int swerve_sock_owner(struct bpf_sock *ctx)
{
	__u64 pod = SWERVE_POD(ctx, sock_owner);
	const struct task_struct *task = bpf_get_current_task_btf();

	return swerve_on_create(ctx, pod, task->cred->fsuid.val, task->cred->fsgid.val, true);
}
