/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * swerve_identity.h - which pod a socket is of: the key of its plan in swerve_pods.
 *
 * Asked of the socket where the kernel can tell its network namespace (Linux 5.7, sock_ops 5.15). With
 * SWERVE_BY_ATTACHMENT the same programs serve older kernels, and workloads that are a cgroup: they
 * are attached to each pod's own cgroup, and user space writes the key beside each attachment. Until
 * then it is 0, which no pod has.
 *
 * A program asks first of all: before Linux 5.14 the kernel keeps what is beside the attachment in a
 * place of the CPU's, which a program that interrupts this one overwrites.
 */
#ifndef SWERVE_IDENTITY_H
#define SWERVE_IDENTITY_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifdef SWERVE_BY_ATTACHMENT

/* Attachment of one program to a cgroup -> pod key. A program has its own: before 5.9 none is shared. */
#define SWERVE_ATTACHMENT(hook)                             \
	struct {                                            \
		__uint(type, BPF_MAP_TYPE_CGROUP_STORAGE);  \
		__type(key, struct bpf_cgroup_storage_key); \
		__type(value, __u64);                       \
	} swerve_at_##hook SEC(".maps")

#define SWERVE_POD(ctx, hook) (*(__u64 *)bpf_get_local_storage(&swerve_at_##hook, 0))

/* For a program that is mostly called in vain: what it asks first, and once it needs to know. */
#define SWERVE_POD_BEFORE(ctx, hook) SWERVE_POD(ctx, hook)
#define SWERVE_POD_WHEN_NEEDED(ctx, before) (before)

#else

#define SWERVE_ATTACHMENT(hook) _Static_assert(1, #hook)

#if defined(SWERVE_BY_KERNEL_TYPES) && defined(SWERVE_CONTEXT)

#include "swerve_kernel.h"

/* Three loads; with the call it would take ten times as long. SWERVE_CONTEXT is what ctx really is. */
#define SWERVE_POD(ctx, hook)                                       \
	(((const struct SWERVE_CONTEXT *)bpf_cast_to_kern_ctx(ctx)) \
		 ->sk->__sk_common.skc_net.net->net_cookie)

#else
#define SWERVE_POD(ctx, hook) bpf_get_netns_cookie(ctx)
#endif

#define SWERVE_POD_BEFORE(ctx, hook) 0
#define SWERVE_POD_WHEN_NEEDED(ctx, before) ((before) ? (before) : SWERVE_POD(ctx, ))

#endif

#endif
