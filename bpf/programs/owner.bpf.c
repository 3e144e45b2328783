// SPDX-License-Identifier: GPL-2.0-only
/*
 * owner.bpf.c - who created a socket, exactly as the packet filters' owner match has it.
 *
 * netfilter asks for the filesystem user and group of the credentials that the socket's file was
 * opened with, and so do we: at socket(2) those are the caller's, and of a socket that is older than
 * these programs the file tells, whoever uses it now.
 *
 * Hooks    cgroup/sock_create, and before the programs that decide, cgroup/connect4, connect6,
 *          sendmsg4 and sendmsg6, on the pods' cgroup
 * Needs    Linux 6.2 with BTF (bpf_cast_to_kern_ctx); owner_basic.bpf.c is for others
 * Reads    swerve_pods
 * Writes   swerve_sockets, swerve_stats
 * On error refuses the socket, or leaves it without a record.
 */
#include "swerve_owner.h"
#include <bpf/bpf_core_read.h>

/* The kernel's own structs, as far as they are read; where the fields are is found at load time. */
#define KERNEL_STRUCT __attribute__((preserve_access_index))

typedef struct {
	__u32 val;
} kuid_t;
typedef struct {
	__u32 val;
} kgid_t;

struct cred {
	kuid_t fsuid;
	kgid_t fsgid;
} KERNEL_STRUCT;

struct file {
	const struct cred *f_cred;
} KERNEL_STRUCT;

struct socket {
	struct file *file;
} KERNEL_STRUCT;

struct sock {
	struct socket *sk_socket;
} KERNEL_STRUCT;

struct task_struct {
	const struct cred *cred;
} KERNEL_STRUCT;

struct bpf_sock_addr_kern {
	struct sock *sk;
} KERNEL_STRUCT;

extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;

char LICENSE[] SEC("license") = "GPL";

SWERVE_ATTACHMENT(sock_create);
SWERVE_ATTACHMENT(adopt_connect4);
SWERVE_ATTACHMENT(adopt_connect6);
SWERVE_ATTACHMENT(adopt_sendmsg4);
SWERVE_ATTACHMENT(adopt_sendmsg6);

SEC("cgroup/sock_create")
int swerve_sock_create(struct bpf_sock *ctx)
{
	__u64 pod = SWERVE_POD(ctx, sock_create);
	const struct task_struct *task = bpf_get_current_task_btf();

	return swerve_on_create(ctx, pod, task->cred->fsuid.val, task->cred->fsgid.val);
}

/* Records the owner of a socket in a pod that has none yet. */
static __always_inline int adopt(struct bpf_sock_addr *ctx, __u64 key)
{
	const struct bpf_sock_addr_kern *kernel;
	const struct swerve_socket *known;
	const struct socket *socket;
	const struct cred *cred;

	if (!bpf_map_lookup_elem(&swerve_pods, &key))
		return ALLOW;
	known = bpf_sk_storage_get(&swerve_sockets, ctx->sk, NULL, 0);
	if (known && (known->flags & SWERVE_SOCKET_OWNER))
		return ALLOW;
	kernel = bpf_cast_to_kern_ctx(ctx);
	socket = kernel->sk->sk_socket;
	if (!socket || !socket->file)
		return ALLOW;
	cred = socket->file->f_cred;
	return swerve_record_owner(bpf_sk_storage_get(&swerve_sockets, ctx->sk, NULL,
						      BPF_SK_STORAGE_GET_F_CREATE),
				   cred->fsuid.val, cred->fsgid.val);
}

SEC("cgroup/connect4")
int swerve_adopt_connect4(struct bpf_sock_addr *ctx)
{
	return adopt(ctx, SWERVE_POD(ctx, adopt_connect4));
}

SEC("cgroup/connect6")
int swerve_adopt_connect6(struct bpf_sock_addr *ctx)
{
	return adopt(ctx, SWERVE_POD(ctx, adopt_connect6));
}

SEC("cgroup/sendmsg4")
int swerve_adopt_sendmsg4(struct bpf_sock_addr *ctx)
{
	return adopt(ctx, SWERVE_POD(ctx, adopt_sendmsg4));
}

SEC("cgroup/sendmsg6")
int swerve_adopt_sendmsg6(struct bpf_sock_addr *ctx)
{
	return adopt(ctx, SWERVE_POD(ctx, adopt_sendmsg6));
}
