/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libbpf, as Swift sees it: the library's own headers, and a shim where Swift cannot follow.
 *
 *   [errno]     only C can read errno before anything else runs
 *   [variadic]  the callback takes a va_list
 *   [macro]     the constant or function is a macro
 *
 * All return a value >= 0, or a negative errno; so do libbpf's own functions since 1.0, except
 * those that return a pointer.
 */
#ifndef CLIBBPF_SHIM_H
#define CLIBBPF_SHIM_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

/* [errno] Opens the object file in memory into *object; libbpf keeps a copy of the bytes. */
static inline int clibbpf_open(const void *_Nonnull bytes, size_t size, const char *_Nonnull name,
			       struct bpf_object *_Nullable *_Nonnull object)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = name);

	*object = bpf_object__open_mem(bytes, size, &options);
	return *object ? 0 : -errno;
}

/* [variadic] Stops libbpf from writing to stderr; what it knows is in the errors it returns. */
static inline void clibbpf_silence(void)
{
	libbpf_set_print(NULL);
}

/*
 * [macro] The size of an options struct up to its last field. libbpf refuses one whose bytes beyond
 * the fields it knows are not zero, and Swift does not promise to zero padding.
 */
#define CLIBBPF_SIZE(name)                                             \
	static inline size_t clibbpf_##name##_size(void)               \
	{                                                              \
		return offsetof(struct name, name##__last_field) +     \
		       sizeof(((struct name *)0)->name##__last_field); \
	}
CLIBBPF_SIZE(bpf_map_create_opts)
CLIBBPF_SIZE(bpf_map_batch_opts)
CLIBBPF_SIZE(bpf_prog_load_opts)
CLIBBPF_SIZE(bpf_tc_hook)
CLIBBPF_SIZE(bpf_tc_opts)
CLIBBPF_SIZE(bpf_test_run_opts)
#undef CLIBBPF_SIZE

/* [macro] The parents that filters of a clsact qdisc hang from. */
static inline uint32_t clibbpf_clsact_ingress(void)
{
	return TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS);
}

static inline uint32_t clibbpf_clsact_egress(void)
{
	return TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS);
}

#endif
