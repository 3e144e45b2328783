// SPDX-License-Identifier: Apache-2.0
/* programs.c - attaches objects to a subject's cgroup and namespace, over maps of its own. */
#include "measure.h"
#include "swerve_abi.h"
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <unistd.h>

/* Maps that the objects of one subject share. */
struct shared {
	int count;
	const char *names[32];
	int fds[32];
};

static int find(const struct shared *maps, const char *name)
{
	int i;

	for (i = 0; i < maps->count; i++) {
		if (!strcmp(maps->names[i], name))
			return maps->fds[i];
	}
	return -1;
}

static void prepare(struct bpf_object *object, const struct shared *maps, __u64 key)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		int known = find(maps, bpf_map__name(map));

		if (strstr(bpf_map__name(map), ".rodata.abilities"))
			*(__u32 *)bpf_map__initial_value(map, &(size_t){ 0 }) = 1;
		else if (strstr(bpf_map__name(map), ".rodata"))
			*(__u64 *)bpf_map__initial_value(map, &(size_t){ 0 }) = key;
		else if (known >= 0)
			bpf_map__reuse_fd(map, known);
	}
}

static void attach(struct bpf_object *object, int cgroup, int namespace)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object)
	{
		struct bpf_link *link = bpf_program__type(program) == BPF_PROG_TYPE_SK_LOOKUP ?
						bpf_program__attach_netns(program, namespace) :
						bpf_program__attach_cgroup(program, cgroup);

		if (!link)
			DIE(bpf_program__name(program));
	}
}

static void load(const char *path, struct shared *maps, const struct subject *subject, int cgroup,
		 int namespace)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct bpf_map *map;

	if (!object)
		DIE(path);
	prepare(object, maps, subject->key);
	if (bpf_object__load(object))
		DIE(path);
	bpf_object__for_each_map(map, object)
	{
		if (bpf_map__is_internal(map) || find(maps, bpf_map__name(map)) >= 0)
			continue;
		maps->names[maps->count] = bpf_map__name(map);
		maps->fds[maps->count++] = bpf_map__fd(map);
	}
	attach(object, cgroup, namespace);
}

/* Everything is redirected but the sidecar, user 1500. */
static void give_plan(const struct shared *maps, __u64 key)
{
	struct swerve_pod pod = {
		.flags = SWERVE_POD_ENABLED | SWERVE_POD_SIDECAR_UID | SWERVE_POD_SOCKET_LOOKUP |
			 SWERVE_POD_PASS_OWN | SWERVE_POD_DNS_UDP | SWERVE_POD_DNS_TCP,
		.sidecar_uid = 1500,
		.outbound_port = OUTBOUND_PORT,
		.inbound_port = 15003,
		.dns_port = 15053,
		.family = { SWERVE_FAMILY_MANAGED, SWERVE_FAMILY_MANAGED },
		.own_count = 1,
	};
	void *counts = calloc(libbpf_num_possible_cpus(), sizeof(struct swerve_counts));
	int pods = find(maps, "swerve_pods");

	pod.own[0].word[2] = htonl(0x0000ffff);
	pod.own[0].word[3] = inet_addr("10.244.0.2");
	pod.source[0] = pod.own[0];
	if (pods < 0)
		return;
	if (bpf_map_update_elem(find(maps, "swerve_counts"), &key, counts, BPF_ANY) ||
	    bpf_map_update_elem(pods, &key, &pod, BPF_ANY))
		DIE("plan");
	free(counts);
}

void attach_programs(const struct subject *subject)
{
	char path[64], *objects = subject->objects ? strdup(subject->objects) : NULL, *rest;
	int cgroup = open(subject->cgroup, O_RDONLY), namespace;
	struct shared maps = {};
	const char *object;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", subject->pid);
	namespace = open(path, O_RDONLY);
	for (object = objects ? strtok_r(objects, ",", &rest) : NULL; object;
	     object = strtok_r(NULL, ",", &rest))
		load(object, &maps, subject, cgroup, namespace);
	if (subject->kind != KIND_UNMANAGED)
		give_plan(&maps, subject->key);
}
