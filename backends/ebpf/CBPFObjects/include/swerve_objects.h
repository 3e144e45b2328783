/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compiled BPF programs, as bytes: one object file for each bpf/programs/NAME.bpf.c.
 * `make bpf` compiles them; this target embeds them, so that the product is one file.
 */
#ifndef SWERVE_OBJECTS_H
#define SWERVE_OBJECTS_H

#include <stddef.h>

extern const unsigned char swerve_object_cgroup[];
extern const unsigned char swerve_object_sk_lookup[];
extern const unsigned char swerve_object_tc[];

/* Sizes are not known here: an array's length is settled where it is defined. */
extern const size_t swerve_object_cgroup_bytes;
extern const size_t swerve_object_sk_lookup_bytes;
extern const size_t swerve_object_tc_bytes;

static inline size_t swerve_object_cgroup_size(void)
{
	return swerve_object_cgroup_bytes;
}

static inline size_t swerve_object_sk_lookup_size(void)
{
	return swerve_object_sk_lookup_bytes;
}

static inline size_t swerve_object_tc_size(void)
{
	return swerve_object_tc_bytes;
}

/* Where an object begins: Swift sees no incomplete array, but it can call this. */
static inline const void *_Nonnull swerve_object_cgroup_start(void)
{
	return swerve_object_cgroup;
}

static inline const void *_Nonnull swerve_object_sk_lookup_start(void)
{
	return swerve_object_sk_lookup;
}

static inline const void *_Nonnull swerve_object_tc_start(void)
{
	return swerve_object_tc;
}

#endif
