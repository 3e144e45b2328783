/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* swerve_outbound.h - what connect(2) and sendmsg(2) have in common: owner, source, sidecar. */
#ifndef SWERVE_OUTBOUND_H
#define SWERVE_OUTBOUND_H

#include "swerve_lookup.h"
#include <linux/errno.h>

#define ALLOW 1
#define DENY 0

#ifdef SWERVE_BY_ATTACHMENT

/* EPERM is all they know: before 5.5 the verifier looks at calls that are never made, too. */
static __always_inline int swerve_deny(int error)
{
	(void)error;
	return DENY;
}

#else

/* In a section of its own: the compiler adds what constants it likes to .rodata. */
const volatile struct swerve_abilities swerve_abilities SEC(".rodata.abilities");

/* Denies with `error` where the kernel lets us say so; else it is EPERM. */
static __always_inline int swerve_deny(int error)
{
	/* A constant for the verifier: it never looks at a call that is not made. */
	if (swerve_abilities.has_set_retval)
		bpf_set_retval(-error);
	return DENY;
}

#endif

#ifdef SWERVE_BY_KERNEL_TYPES

#include "swerve_kernel.h"

/* The filesystem user and group that the socket's file was opened with, whoever uses it now. */
static __always_inline bool swerve_take_opener(struct bpf_sock_addr *ctx,
					       struct swerve_question *ask)
{
	const struct bpf_sock_addr_kern *kernel = bpf_cast_to_kern_ctx(ctx);
	const struct socket *socket = kernel->sk->sk_socket;
	const struct cred *cred;

	if (!socket || !socket->file)
		return false;
	cred = socket->file->f_cred;
	ask->uid = cred->fsuid.val;
	ask->gid = cred->fsgid.val;
	return true;
}

#else

static __always_inline bool swerve_take_opener(struct bpf_sock_addr *ctx,
					       struct swerve_question *ask)
{
	(void)ctx;
	(void)ask;
	return false;
}

#endif

/* Who created the socket; without a record, who opened its file, or as far as we know, who uses it. */
static __always_inline void swerve_take_owner(struct bpf_sock_addr *ctx,
					      const struct swerve_socket *socket,
					      struct swerve_question *ask)
{
	__u64 owner;

	if (socket && (socket->flags & SWERVE_SOCKET_OWNER)) {
		ask->uid = socket->uid;
		ask->gid = socket->gid;
		return;
	}
	if (swerve_take_opener(ctx, ask))
		return;
	owner = bpf_get_current_uid_gid();
	ask->uid = owner;
	ask->gid = owner >> 32;
}

static __always_inline bool swerve_is_zero(const struct swerve_addr *addr)
{
	return !(addr->word[0] | addr->word[1] | addr->word[2] | addr->word[3]);
}

static __always_inline bool swerve_is_link_local(const struct swerve_addr *addr)
{
	return swerve_family(addr) &&
	       (addr->word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/*
 * The source a connection to `ask->peer` would have; zero leaves it to the kernel, which then shows
 * loopback. For the own addresses it is the very address: all of them are local.
 */
static __always_inline void swerve_natural_source(const struct swerve_pod *pod,
						  const struct swerve_question *ask,
						  struct swerve_addr *source)
{
	if (swerve_is_loopback(&ask->peer))
		__builtin_memset(source, 0, sizeof(*source));
	else if (swerve_is_own(pod, ask) && !swerve_is_link_local(&ask->peer))
		*source = ask->peer;
	else
		*source = pod->source[swerve_family(&ask->peer) & 1];
}

/*
 * A pod without an address of the family has no way out: connect(2) would fail, and so programs find
 * out that they should try the other family. Counted, for the plan may have missed an address.
 */
static __always_inline bool swerve_is_unreachable(const struct swerve_question *ask,
						  const struct swerve_addr *source)
{
	if (!swerve_is_zero(source) || swerve_is_loopback(&ask->peer) ||
	    swerve_is_link_local(&ask->peer))
		return false;
	swerve_count(SWERVE_STAT_NO_SOURCE);
	return true;
}

/*
 * Asks what the plan says about the flow's source. One that is not bound is the kernel's choice: for
 * an own address that very address, for loopback the first of them.
 */
static __always_inline void swerve_ask_source(const struct swerve_pod *pod,
					      struct swerve_question *ask)
{
	struct swerve_addr source = ask->source;

	if (!(pod->flags & (SWERVE_POD_PASSTHROUGH | SWERVE_POD_TRANSPARENT)))
		return;
	if (swerve_is_unspecified(&source)) {
		source = ask->peer;
		if (swerve_is_loopback(&ask->peer))
			source.word[3] = swerve_family(&source) ? bpf_htonl(1) :
								  bpf_htonl(INADDR_LOOPBACK);
	}
	ask->source_networks = swerve_networks(pod, &source);
}

static __always_inline void swerve_set_ipv4(struct bpf_sock_addr *ctx, __u32 addr, __u16 port)
{
	ctx->user_ip4 = addr;
	ctx->user_port = port;
}

static __always_inline void swerve_set_ipv6(struct bpf_sock_addr *ctx,
					    const struct swerve_addr *addr, __u16 port)
{
	ctx->user_ip6[0] = addr->word[0];
	ctx->user_ip6[1] = addr->word[1];
	ctx->user_ip6[2] = addr->word[2];
	ctx->user_ip6[3] = addr->word[3];
	ctx->user_port = port;
}

/* Turns the destination to the sidecar: 127.0.0.1, ::1, or ::ffff:127.0.0.1 for a mapped one. */
static __always_inline void swerve_turn(struct bpf_sock_addr *ctx, bool is_ipv4,
					const struct swerve_addr *destination, __u16 port)
{
	struct swerve_addr loopback = {};

	if (is_ipv4) {
		swerve_set_ipv4(ctx, bpf_htonl(INADDR_LOOPBACK), bpf_htons(port));
		return;
	}
	if (swerve_family(destination))
		loopback.word[3] = bpf_htonl(1);
	else
		swerve_map_ipv4(&loopback, bpf_htonl(INADDR_LOOPBACK));
	swerve_set_ipv6(ctx, &loopback, bpf_htons(port));
}

#endif
