/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * swerve_kernel.h - the kernel's own structs, as far as they are read; where the fields are is found
 * at load time. Linux 6.2 with BTF (bpf_cast_to_kern_ctx).
 */
#ifndef SWERVE_KERNEL_H
#define SWERVE_KERNEL_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define SWERVE_KERNEL_STRUCT __attribute__((preserve_access_index))

typedef struct {
	__u32 val;
} kuid_t;
typedef struct {
	__u32 val;
} kgid_t;

struct cred {
	kuid_t fsuid;
	kgid_t fsgid;
} SWERVE_KERNEL_STRUCT;

struct file {
	const struct cred *f_cred;
} SWERVE_KERNEL_STRUCT;

struct socket {
	struct file *file;
} SWERVE_KERNEL_STRUCT;

typedef struct {
	__s64 counter;
} SWERVE_KERNEL_STRUCT atomic64_t;

struct net {
	__u64 net_cookie;
} SWERVE_KERNEL_STRUCT;

typedef struct {
	struct net *net;
} SWERVE_KERNEL_STRUCT possible_net_t;

struct sock_common {
	possible_net_t skc_net;
	atomic64_t skc_cookie;
	unsigned long skc_flags;
} SWERVE_KERNEL_STRUCT;

struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
} SWERVE_KERNEL_STRUCT;

struct tcp_sock {
	__u32 write_seq;
} SWERVE_KERNEL_STRUCT;

struct task_struct {
	const struct cred *cred;
} SWERVE_KERNEL_STRUCT;

struct bpf_sock_addr_kern {
	struct sock *sk;
} SWERVE_KERNEL_STRUCT;

struct bpf_sock_ops_kern {
	struct sock *sk;
} SWERVE_KERNEL_STRUCT;

struct bpf_sockopt_kern {
	struct sock *sk;
} SWERVE_KERNEL_STRUCT;

/* enum sock_flags: nobody has a descriptor of the socket any more. */
#define SWERVE_SOCK_DEAD 0

extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;
extern void *bpf_rdonly_cast(const void *from, __u32 type) __ksym;

#endif
