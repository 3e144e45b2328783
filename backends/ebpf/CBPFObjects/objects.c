/* SPDX-License-Identifier: Apache-2.0 */
#include "swerve_objects.h"

#pragma clang diagnostic ignored "-Wc23-extensions"

/* libbpf reads ELF headers in place, hence the alignment. */
#define OBJECT static const unsigned char __attribute__((aligned(8)))

/*
 * The compiler writes the embedded files into this file's dependencies, so a new object rebuilds it.
 */
OBJECT connect_object[] = {
#embed "objects/connect.bpf.o"
};
OBJECT connect_attached_object[] = {
#embed "objects/connect_attached.bpf.o"
};
OBJECT connect_attached_typed_object[] = {
#embed "objects/connect_attached_typed.bpf.o"
};
OBJECT connect_typed_object[] = {
#embed "objects/connect_typed.bpf.o"
};
OBJECT dns_object[] = {
#embed "objects/dns.bpf.o"
};
OBJECT dns_attached_object[] = {
#embed "objects/dns_attached.bpf.o"
};
OBJECT dns_attached_typed_object[] = {
#embed "objects/dns_attached_typed.bpf.o"
};
OBJECT dns_typed_object[] = {
#embed "objects/dns_typed.bpf.o"
};
OBJECT getsockopt_object[] = {
#embed "objects/getsockopt.bpf.o"
};
OBJECT getsockopt_typed_object[] = {
#embed "objects/getsockopt_typed.bpf.o"
};
OBJECT multipath_object[] = {
#embed "objects/multipath.bpf.o"
};
OBJECT owner_object[] = {
#embed "objects/owner.bpf.o"
};
OBJECT owner_attached_object[] = {
#embed "objects/owner_attached.bpf.o"
};
OBJECT owner_basic_object[] = {
#embed "objects/owner_basic.bpf.o"
};
OBJECT owner_basic_attached_object[] = {
#embed "objects/owner_basic_attached.bpf.o"
};
OBJECT peername_object[] = {
#embed "objects/peername.bpf.o"
};
OBJECT sk_lookup_object[] = {
#embed "objects/sk_lookup.bpf.o"
};
OBJECT sockops_object[] = {
#embed "objects/sockops.bpf.o"
};
OBJECT sockops_attached_object[] = {
#embed "objects/sockops_attached.bpf.o"
};
OBJECT sockops_typed_object[] = {
#embed "objects/sockops_typed.bpf.o"
};
OBJECT tc_object[] = {
#embed "objects/tc.bpf.o"
};

#define ENTRY(bytes)                   \
	{                              \
		(bytes), sizeof(bytes) \
	}

struct swerve_object swerve_object(enum swerve_object_name name)
{
	static const struct swerve_object objects[] = {
		[SWERVE_OBJECT_CONNECT] = ENTRY(connect_object),
		[SWERVE_OBJECT_CONNECT_ATTACHED] = ENTRY(connect_attached_object),
		[SWERVE_OBJECT_CONNECT_ATTACHED_TYPED] = ENTRY(connect_attached_typed_object),
		[SWERVE_OBJECT_CONNECT_TYPED] = ENTRY(connect_typed_object),
		[SWERVE_OBJECT_DNS] = ENTRY(dns_object),
		[SWERVE_OBJECT_DNS_ATTACHED] = ENTRY(dns_attached_object),
		[SWERVE_OBJECT_DNS_ATTACHED_TYPED] = ENTRY(dns_attached_typed_object),
		[SWERVE_OBJECT_DNS_TYPED] = ENTRY(dns_typed_object),
		[SWERVE_OBJECT_GETSOCKOPT] = ENTRY(getsockopt_object),
		[SWERVE_OBJECT_GETSOCKOPT_TYPED] = ENTRY(getsockopt_typed_object),
		[SWERVE_OBJECT_MULTIPATH] = ENTRY(multipath_object),
		[SWERVE_OBJECT_OWNER] = ENTRY(owner_object),
		[SWERVE_OBJECT_OWNER_ATTACHED] = ENTRY(owner_attached_object),
		[SWERVE_OBJECT_OWNER_BASIC] = ENTRY(owner_basic_object),
		[SWERVE_OBJECT_OWNER_BASIC_ATTACHED] = ENTRY(owner_basic_attached_object),
		[SWERVE_OBJECT_PEERNAME] = ENTRY(peername_object),
		[SWERVE_OBJECT_SK_LOOKUP] = ENTRY(sk_lookup_object),
		[SWERVE_OBJECT_SOCKOPS] = ENTRY(sockops_object),
		[SWERVE_OBJECT_SOCKOPS_ATTACHED] = ENTRY(sockops_attached_object),
		[SWERVE_OBJECT_SOCKOPS_TYPED] = ENTRY(sockops_typed_object),
		[SWERVE_OBJECT_TC] = ENTRY(tc_object),
	};

	return objects[name];
}

/* FNV-1a over all bytes: whoever wants to deceive it can replace the programs as well. */
uint64_t swerve_objects_tag(void)
{
	uint64_t tag = 0xcbf29ce484222325;

	for (int name = 0; name < SWERVE_OBJECTS; name++) {
		struct swerve_object object = swerve_object(name);
		const unsigned char *bytes = object.start;

		for (size_t i = 0; i < object.size; i++)
			tag = (tag ^ bytes[i]) * 0x100000001b3;
	}
	return tag;
}
