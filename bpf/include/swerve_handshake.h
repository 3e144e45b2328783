/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * swerve_handshake.h - the entries of a redirected connection between its SYN and its accept.
 *
 * The first is by the source the sidecar will see. While NAT still has connections to the sidecar,
 * from before these programs took over, it gives another source port to a new one that would share
 * the ports of an old one. It changes neither address nor sequence numbers: so there is a second
 * entry then, by the first sequence number, and such a connection is known by that one alone. Were
 * it looked for by its changed port, it might find the entry of another connection, which has that
 * port at its own end and is on its way still.
 */
#ifndef SWERVE_HANDSHAKE_H
#define SWERVE_HANDSHAKE_H

#include "swerve_keep.h"

/* Sockets that connect to something that asks where they come from. */
#define SWERVE_CONNECTING (SWERVE_SOCKET_CLIENT | SWERVE_SOCKET_ONWARD)

/* By the application's own end. */
static __always_inline void swerve_client_key(struct bpf_sock_ops *ctx, __u64 pod,
					      struct swerve_handshake_key *key)
{
	key->pod = pod;
	SWERVE_TAKE_ADDRESS(ctx, local, &key->addr);
	key->port = bpf_htons(ctx->local_port);
	key->sidecar_port = swerve_remote_port(ctx);
}

/* The SYN is about to leave: its source is known now. */
static __always_inline void swerve_begin_handshake(struct bpf_sock_ops *ctx, __u64 pod)
{
	struct swerve_socket *socket = swerve_stored(ctx, 0);
	struct swerve_handshake_key key = {};
	struct swerve_handshake handshake = {};

	if (!socket || !(socket->flags & SWERVE_CONNECTING))
		return;
	swerve_client_key(ctx, pod, &key);
	handshake.cookie = bpf_get_socket_cookie(ctx);
	if (socket->flags & SWERVE_SOCKET_CLIENT)
		handshake.origin = socket->origin;
	swerve_watch(ctx);
	if ((socket->flags & SWERVE_SOCKET_PLACEABLE) &&
	    swerve_offer(&key, swerve_first_number(ctx), handshake.cookie, &handshake.origin))
		return;
	if (SWERVE_KNOWS_TYPES)
		socket->flags &= ~SWERVE_SOCKET_PLACEABLE;
	swerve_vacate(&key);
	if (bpf_map_update_elem(&swerve_handshakes, &key, &handshake, BPF_ANY))
		swerve_count(SWERVE_STAT_HANDSHAKES_FULL);
}

/*
 * Its first sequence number is known as well: the kernel asks for the SYN's timeout right after it
 * has set that. Where there is no room, the first entry says all the same that there is a number: a
 * connection that is not found by it gets no origin, rather than another's.
 */
static __always_inline void swerve_number_handshake(struct bpf_sock_ops *ctx, __u64 pod)
{
	struct swerve_handshake_key key = {};
	struct swerve_handshake *handshake, numbered;
	struct swerve_socket *socket;

	socket = swerve_stored(ctx, 0);
	if (!socket || !(socket->flags & SWERVE_SOCKET_RENUMBERED))
		return;
	swerve_client_key(ctx, pod, &key);
	handshake = bpf_map_lookup_elem(&swerve_handshakes, &key);
	/* It asks again when the SYN is repeated, and the next number is another by then. */
	if (!handshake || handshake->port || handshake->cookie != bpf_get_socket_cookie(ctx))
		return;
	handshake->port = key.port;
	numbered = *handshake;
	key.port = 0;
	key.isn = ctx->snd_nxt;
	socket->isn = key.isn;
	if (bpf_map_update_elem(&swerve_handshakes, &key, &numbered, BPF_ANY))
		swerve_count(SWERVE_STAT_HANDSHAKES_FULL);
}

/* Deletes the entry if it is this socket's: another may have its key by now. */
static __always_inline void swerve_delete_handshake(const struct swerve_handshake_key *key,
						    __u64 cookie)
{
	const struct swerve_handshake *handshake = bpf_map_lookup_elem(&swerve_handshakes, key);

	if (handshake && handshake->cookie == cookie)
		bpf_map_delete_elem(&swerve_handshakes, key);
}

/*
 * The origin of a connection from inside the pod, consumed. One that cannot have been turned was handed
 * on, and has none.
 */
static __always_inline bool swerve_take_handshake(struct bpf_sock_ops *ctx, __u64 pod_key,
						  bool is_renumbered, bool may_be_turned,
						  struct swerve_endpoint *origin)
{
	struct swerve_handshake_key key = { .pod = pod_key };
	const struct swerve_handshake *handshake = NULL;
	__u64 cookie;
	__u16 port;

	SWERVE_TAKE_ADDRESS(ctx, remote, &key.addr);
	key.sidecar_port = bpf_htons(ctx->local_port);
	if (is_renumbered) {
		key.isn = ctx->rcv_nxt - 1;
		handshake = bpf_map_lookup_elem(&swerve_handshakes, &key);
	}
	if (!handshake) {
		key.port = swerve_remote_port(ctx);
		key.isn = 0;
		handshake = bpf_map_lookup_elem(&swerve_handshakes, &key);
		/* One that has a number, and not this one's, may be somebody else's. */
		if (!handshake || (is_renumbered && handshake->port))
			return false;
	}
	if (handshake->origin.port && !may_be_turned)
		return false;
	*origin = handshake->origin;
	cookie = handshake->cookie;
	port = handshake->port;
	bpf_map_delete_elem(&swerve_handshakes, &key);
	if (!port)
		return true;
	/* The other one: by the source when this was by number, and the other way round. */
	key.isn = key.port ? ctx->rcv_nxt - 1 : 0;
	key.port = key.port ? 0 : port;
	swerve_delete_handshake(&key, cookie);
	return true;
}

/*
 * The application's socket closes: a handshake nobody took goes with it. What the flag says is of the
 * node's own entry, and a cgroup's program has one of its own.
 */
static __always_inline void swerve_forget_handshake(struct bpf_sock_ops *ctx, __u64 pod,
						    const struct swerve_socket *socket)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	struct swerve_handshake_key key = {};

	swerve_client_key(ctx, pod, &key);
	if (SWERVE_KNOWS_TYPES && (socket->flags & SWERVE_SOCKET_PLACEABLE)) {
		swerve_withdraw(&key, cookie);
		return;
	}
	swerve_delete_handshake(&key, cookie);
	if (!(socket->flags & SWERVE_SOCKET_RENUMBERED))
		return;
	key.port = 0;
	key.isn = socket->isn;
	swerve_delete_handshake(&key, cookie);
}

#endif
