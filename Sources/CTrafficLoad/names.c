// SPDX-License-Identifier: Apache-2.0
/* Addresses, and the names of sockets that are made of them. */
#include "internal.h"

#include <endian.h>
#include <string.h>

#define IPV4_PREFIX ((uint64_t)0xffff << 32)

struct tload_name tload_name(struct tload_address address, uint16_t port)
{
	struct tload_name name = { .size = sizeof(name.ipv6) };
	uint64_t halves[] = { htobe64(address.high), htobe64(address.low) };

	if (tload_family(address) == AF_INET) {
		name.ipv4 = (struct sockaddr_in){ .sin_family = AF_INET,
						  .sin_port = htons(port),
						  .sin_addr.s_addr = htonl((uint32_t)address.low) };
		name.size = sizeof(name.ipv4);
		return name;
	}
	name.ipv6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port) };
	memcpy(&name.ipv6.sin6_addr, halves, sizeof(halves));
	return name;
}

struct tload_address tload_address(const struct tload_name *name)
{
	uint64_t halves[2];

	if (name->any.sa_family == AF_INET)
		return (struct tload_address){ 0, IPV4_PREFIX | ntohl(name->ipv4.sin_addr.s_addr) };
	memcpy(halves, &name->ipv6.sin6_addr, sizeof(halves));
	return (struct tload_address){ be64toh(halves[0]), be64toh(halves[1]) };
}

struct tload_address tload_loopback(int family)
{
	uint64_t low = family == AF_INET ? IPV4_PREFIX | INADDR_LOOPBACK : 1;

	return (struct tload_address){ 0, low };
}
