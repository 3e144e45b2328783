/* SPDX-License-Identifier: Apache-2.0 */
#include "swerve_objects.h"

/*
 * libbpf reads ELF headers in place, hence the alignment. The compiler writes the embedded files
 * into this file's dependencies, so a new object rebuilds it.
 */
#define OBJECT __attribute__((aligned(8)))

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wc23-extensions"

const unsigned char swerve_object_cgroup[] OBJECT = {
#embed "objects/cgroup.bpf.o"
};
const size_t swerve_object_cgroup_bytes = sizeof(swerve_object_cgroup);

const unsigned char swerve_object_sk_lookup[] OBJECT = {
#embed "objects/sk_lookup.bpf.o"
};
const size_t swerve_object_sk_lookup_bytes = sizeof(swerve_object_sk_lookup);

const unsigned char swerve_object_tc[] OBJECT = {
#embed "objects/tc.bpf.o"
};
const size_t swerve_object_tc_bytes = sizeof(swerve_object_tc);

#pragma clang diagnostic pop
