/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* swerve_owner.h - what happens when a socket is created in a pod. */
#ifndef SWERVE_OWNER_H
#define SWERVE_OWNER_H

#include "swerve_identity.h"
#include "swerve_outbound.h"

/* linux/in.h of Linux 5.6; some build machines have an older one. */
#define SWERVE_IPPROTO_MPTCP 262

static __always_inline int swerve_record_owner(struct swerve_socket *socket, __u32 uid, __u32 gid)
{
	if (!socket) {
		swerve_count(SWERVE_STAT_STORAGE_FULL);
		return DENY;
	}
	socket->uid = uid;
	socket->gid = gid;
	socket->flags |= SWERVE_SOCKET_OWNER;
	return ALLOW;
}

/*
 * A multipath socket connects its subflows where no hook sees them. It is refused as if the kernel
 * had none, and programs fall back to TCP.
 */
static __always_inline bool swerve_is_multipath(struct bpf_sock *ctx)
{
	if (ctx->protocol != SWERVE_IPPROTO_MPTCP)
		return false;
	swerve_count(SWERVE_STAT_MPTCP_REFUSED);
	return true;
}

/*
 * Owner identity is who created the socket, so remember it before the program drops privileges. The
 * sidecar's need no record where the file tells as well, and are never redirected but to themselves.
 */
static __always_inline int swerve_on_create(struct bpf_sock *ctx, __u64 key, __u32 uid, __u32 gid,
					    bool has_files)
{
	const struct swerve_pod *pod = bpf_map_lookup_elem(&swerve_pods, &key);

	if (!pod)
		return ALLOW;
	if (swerve_is_multipath(ctx))
		return swerve_deny(EPROTONOSUPPORT);
	if (ctx->protocol != IPPROTO_TCP &&
	    (ctx->protocol != IPPROTO_UDP || !(pod->flags & SWERVE_POD_DNS_UDP)))
		return ALLOW;
	if (has_files && (pod->flags & SWERVE_POD_SIDECAR_UID) && pod->sidecar_uid == uid)
		return ALLOW;
	return swerve_record_owner(bpf_sk_storage_get(&swerve_sockets, ctx, NULL,
						      BPF_SK_STORAGE_GET_F_CREATE),
				   uid, gid);
}

#endif
