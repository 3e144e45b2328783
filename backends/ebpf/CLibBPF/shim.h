/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libbpf, as Swift sees it: the library's own headers, and a shim where Swift cannot follow.
 *
 *   [errno]     only C can read errno before anything else runs
 *   [variadic]  the callback takes a va_list
 *   [macro]     the constant or function is a macro
 *   [union]     the struct has unnamed unions, which Swift reads by unsafe means
 *
 * All return a value >= 0, or a negative errno; so do libbpf's own functions since 1.0, except
 * those that return a pointer.
 */
#ifndef CLIBBPF_SHIM_H
#define CLIBBPF_SHIM_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/magic.h>
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

/*
 * [errno] How many values of an array begin with another word than 0 that has none of the bits, and if
 * `second` is not 0, have that for their second word. They are read where they are: the array was made
 * with BPF_F_MMAPABLE, and programs go on writing to it.
 */
static inline int clibbpf_count_taken(int map, size_t entries, size_t value_size, uint64_t bits,
				      uint64_t second)
{
	size_t size = entries * value_size, i;
	char *values = (char *)mmap(NULL, size, PROT_READ, MAP_SHARED, map, 0);
	int taken = 0;

	if (values == MAP_FAILED)
		return -errno;
	for (i = 0; i < entries; i++) {
		const volatile uint64_t *words =
			(const volatile uint64_t *)(values + i * value_size);
		uint64_t first = words[0];

		taken += first && !(first & bits) && (!second || words[1] == second);
	}
	munmap(values, size);
	return taken;
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

/* [macro] The place of the clsact qdisc on an interface. */
static inline uint32_t clibbpf_clsact_parent(void)
{
	return TC_H_CLSACT;
}

/* [macro] The parents that filters of a clsact qdisc hang from. */
static inline uint32_t clibbpf_clsact_ingress(void)
{
	return TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS);
}

static inline uint32_t clibbpf_clsact_egress(void)
{
	return TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS);
}

/* [errno] [macro] Whether `path` is in a bpf filesystem. */
static inline int clibbpf_is_bpffs(const char *_Nonnull path)
{
	struct statfs found;

	return statfs(path, &found) < 0 ? -errno : found.f_type == BPF_FS_MAGIC;
}

/* [errno] mount(2): a bpf filesystem that only root may enter. */
static inline int clibbpf_mount_bpffs(const char *_Nonnull path)
{
	return mount("bpf", path, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0 ?
		       -errno :
		       0;
}

/* What a link ties together. */
struct clibbpf_link {
	uint32_t id;
	uint32_t program;
	uint32_t attach_type;
	uint64_t cgroup; /* its id; 0: none, or detached */
	uint64_t netns; /* its inode; 0: none, or detached */
};

/* [union] bpf_obj_get_info_by_fd(3) of a link. */
static inline int clibbpf_link_info(int fd, struct clibbpf_link *_Nonnull link)
{
	struct bpf_link_info info = {};
	uint32_t size = sizeof(info);
	int status = bpf_obj_get_info_by_fd(fd, &info, &size);

	*link = (struct clibbpf_link){ .id = info.id, .program = info.prog_id };
	if (info.type == BPF_LINK_TYPE_CGROUP) {
		link->cgroup = info.cgroup.cgroup_id;
		link->attach_type = info.cgroup.attach_type;
	} else if (info.type == BPF_LINK_TYPE_NETNS) {
		link->netns = info.netns.netns_ino;
		link->attach_type = info.netns.attach_type;
	}
	return status;
}

#endif
