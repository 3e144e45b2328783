/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compiled BPF programs, as bytes: one object file for each bpf/programs/NAME.bpf.c, and one more
 * (NAME_attached) where it is compiled for identity by attachment, too, or (NAME_typed) for kernels
 * whose own types are known.
 * `make bpf` compiles them; this target embeds them, so that the product is one file.
 */
#ifndef SWERVE_OBJECTS_H
#define SWERVE_OBJECTS_H

#include <stddef.h>
#include <stdint.h>

enum swerve_object_name {
	SWERVE_OBJECT_CONNECT,
	SWERVE_OBJECT_CONNECT_ATTACHED,
	SWERVE_OBJECT_CONNECT_ATTACHED_TYPED,
	SWERVE_OBJECT_CONNECT_TYPED,
	SWERVE_OBJECT_DNS,
	SWERVE_OBJECT_DNS_ATTACHED,
	SWERVE_OBJECT_DNS_ATTACHED_TYPED,
	SWERVE_OBJECT_DNS_TYPED,
	SWERVE_OBJECT_GETSOCKOPT,
	SWERVE_OBJECT_GETSOCKOPT_TYPED,
	SWERVE_OBJECT_MULTIPATH,
	SWERVE_OBJECT_OWNER,
	SWERVE_OBJECT_OWNER_ATTACHED,
	SWERVE_OBJECT_OWNER_BASIC,
	SWERVE_OBJECT_OWNER_BASIC_ATTACHED,
	SWERVE_OBJECT_PEERNAME,
	SWERVE_OBJECT_SK_LOOKUP,
	SWERVE_OBJECT_SOCKOPS,
	SWERVE_OBJECT_SOCKOPS_ATTACHED,
	SWERVE_OBJECT_SOCKOPS_TYPED,
	SWERVE_OBJECT_TC,
	SWERVE_OBJECTS,
};

struct swerve_object {
	const void *_Nonnull start;
	size_t size;
};

struct swerve_object swerve_object(enum swerve_object_name name);

/* A number that tells these objects from those of another build. */
uint64_t swerve_objects_tag(void);

#endif
