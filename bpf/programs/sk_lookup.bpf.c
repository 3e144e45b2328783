// SPDX-License-Identifier: GPL-2.0-only
/*
 * sk_lookup.bpf.c - inbound redirection, when the kernel looks for a listener.
 *
 * The SYN is for the application's port; it is given to the sidecar's listener. No packet is
 * rewritten and nothing is done per packet: the accepted socket simply has the address the client
 * asked for, which sock_ops then reports as the origin.
 *
 * Hook     sk_lookup on the pod's network namespace, one small program a pod: the hook cannot ask
 *          for the namespace's cookie, so the pod's key is in its read-only data
 * Needs    Linux 5.9
 * Reads    swerve_pods and its sets, swerve_handshakes, swerve_listeners
 * Writes   swerve_counts, swerve_stats
 * On error refuses the connection: nothing reaches the application around its sidecar.
 */
#include "swerve_listeners.h"
#include "swerve_lookup.h"

char LICENSE[] SEC("license") = "GPL";

const volatile __u64 swerve_pod_key;

/* A transparent sidecar's own connection, from an address that tells nothing. */
static __always_inline bool is_onward(struct bpf_sk_lookup *ctx, const struct swerve_addr *peer)
{
	struct swerve_handshake_key key = {
		.pod = swerve_pod_key,
		.addr = *peer,
		.port = ctx->remote_port,
		.sidecar_port = bpf_htons(ctx->local_port),
	};
	const struct swerve_handshake *handshake = bpf_map_lookup_elem(&swerve_handshakes, &key);

	return handshake && !handshake->origin.port;
}

/* Gives the connection to the first listener of `family`; false if it may not have it. */
static __always_inline bool assign(struct bpf_sk_lookup *ctx, __u16 port, __u32 family)
{
	struct swerve_listener_key key = {
		.pod = swerve_pod_key,
		.family = family,
		.port = port,
	};
	struct bpf_sock *listener;
	long refused;
	__u32 slot;

	for (slot = 0; slot < SWERVE_LISTENER_SLOTS; slot++) {
		key.slot = slot;
		listener = bpf_map_lookup_elem(&swerve_listeners, &key);
		if (!listener)
			continue;
		refused = bpf_sk_assign(ctx, listener, 0);
		bpf_sk_release(listener);
		return !refused;
	}
	return false;
}

SEC("sk_lookup")
int swerve_sk_lookup(struct bpf_sk_lookup *ctx)
{
	struct swerve_question ask = { .port = ctx->local_port };
	const struct swerve_pod *pod;
	struct swerve_verdict verdict;
	__u64 key = swerve_pod_key;

	pod = bpf_map_lookup_elem(&swerve_pods, &key);
	if (!pod || ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	SWERVE_TAKE_ADDRESS(ctx, remote, &ask.peer);
	if (pod->flags & SWERVE_POD_TRANSPARENT)
		ask.is_onward = is_onward(ctx, &ask.peer);
	verdict = swerve_ask_inbound(pod, &ask);
	swerve_decided(key, SWERVE_INBOUND, verdict.reason);
	if (verdict.action == SWERVE_DROP)
		return SK_DROP;
	if (verdict.action != SWERVE_REDIRECT_INBOUND)
		return SK_PASS;
	/* A dual-stack IPv6 listener serves IPv4 as well; bpf_sk_assign refuses those that do not. */
	if (ctx->family == AF_INET && assign(ctx, pod->inbound_port, AF_INET))
		return SK_PASS;
	if (assign(ctx, pod->inbound_port, AF_INET6))
		return SK_PASS;
	swerve_count(SWERVE_STAT_NO_LISTENER);
	return SK_DROP;
}
