// SPDX-License-Identifier: GPL-2.0-only
/*
 * null.bpf.c - programs that do nothing, where ours are: what calling them costs.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("cgroup/sock_create")
int null_sock_create(void *ctx)
{
	(void)ctx;
	return 1;
}

SEC("cgroup/connect4")
int null_connect4(void *ctx)
{
	(void)ctx;
	return 1;
}

SEC("cgroup/getsockopt")
int null_getsockopt(void *ctx)
{
	(void)ctx;
	return 1;
}

SEC("sockops")
int null_sockops(void *ctx)
{
	(void)ctx;
	return 1;
}

SEC("sk_lookup")
int null_sk_lookup(void *ctx)
{
	(void)ctx;
	return 1;
}
