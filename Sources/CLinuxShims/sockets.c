// SPDX-License-Identifier: Apache-2.0
/* Sockets: names in 16 bytes, options, datagrams with both ends. */
#define _GNU_SOURCE
#include "clinux_shims.h"
#include "or_errno.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

int clinux_socket(int domain, int type, int protocol)
{
	return OR_ERRNO(socket(domain, type | SOCK_CLOEXEC, protocol));
}

/* Fills `storage` for the socket's own domain and returns its size, or a negative errno. */
static int make_name(int fd, const uint8_t *address, uint16_t port, uint32_t scope,
		     struct sockaddr_storage *storage)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)storage;
	struct sockaddr_in *v4 = (struct sockaddr_in *)storage;
	socklen_t size = sizeof(int);
	int domain;

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0)
		return -errno;
	memset(storage, 0, sizeof(*storage));
	storage->ss_family = domain;
	if (domain == AF_INET) {
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, address + 12, 4);
		return sizeof(*v4);
	}
	v6->sin6_port = htons(port);
	v6->sin6_scope_id = scope;
	memcpy(&v6->sin6_addr, address, 16);
	return sizeof(*v6);
}

/* The reverse: 16 bytes of address, IPv4 mapped, and the port in host order. */
static void take_name(const struct sockaddr_storage *storage, uint8_t *address, uint16_t *port)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)storage;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)storage;

	memset(address, 0, 16);
	*port = ntohs(v6->sin6_port);
	if (storage->ss_family == AF_INET6) {
		memcpy(address, &v6->sin6_addr, 16);
	} else {
		address[10] = address[11] = 0xff;
		memcpy(address + 12, &v4->sin_addr, 4);
	}
}

int clinux_bind(int fd, const uint8_t *address, uint16_t port, uint32_t scope)
{
	struct sockaddr_storage name;
	int size = make_name(fd, address, port, scope, &name);

	return size < 0 ? size : OR_ERRNO(bind(fd, (struct sockaddr *)&name, size));
}

int clinux_connect(int fd, const uint8_t *address, uint16_t port, uint32_t scope)
{
	struct sockaddr_storage name;
	int size = make_name(fd, address, port, scope, &name);

	return size < 0 ? size : OR_ERRNO(connect(fd, (struct sockaddr *)&name, size));
}

int clinux_accept(int fd, int flags, uint8_t *address, uint16_t *port)
{
	struct sockaddr_storage name = {};
	socklen_t size = sizeof(name);
	int accepted = OR_ERRNO(accept4(fd, (struct sockaddr *)&name, &size, flags | SOCK_CLOEXEC));

	if (accepted >= 0)
		take_name(&name, address, port);
	return accepted;
}

int clinux_local_name(int fd, uint8_t *address, uint16_t *port)
{
	struct sockaddr_storage name = {};
	socklen_t size = sizeof(name);
	int result = OR_ERRNO(getsockname(fd, (struct sockaddr *)&name, &size));

	if (result == 0)
		take_name(&name, address, port);
	return result;
}

int clinux_peer_name(int fd, uint8_t *address, uint16_t *port)
{
	struct sockaddr_storage name = {};
	socklen_t size = sizeof(name);
	int result = OR_ERRNO(getpeername(fd, (struct sockaddr *)&name, &size));

	if (result == 0)
		take_name(&name, address, port);
	return result;
}

int clinux_listen(int fd, int backlog)
{
	return OR_ERRNO(listen(fd, backlog));
}

int clinux_shutdown(int fd, int how)
{
	return OR_ERRNO(shutdown(fd, how));
}

int clinux_getsockopt(int fd, int level, int name, void *value, uint32_t *size)
{
	return OR_ERRNO(getsockopt(fd, level, name, value, size));
}

int clinux_setsockopt(int fd, int level, int name, const void *value, uint32_t size)
{
	return OR_ERRNO(setsockopt(fd, level, name, value, size));
}

int clinux_set_timeouts(int fd, int milliseconds)
{
	struct timeval limit = { .tv_sec = milliseconds / 1000,
				 .tv_usec = milliseconds % 1000 * 1000 };

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
		return -errno;
	return OR_ERRNO(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)));
}

int clinux_netns_cookie(int fd, uint64_t *cookie)
{
	socklen_t size = sizeof(*cookie);

	return OR_ERRNO(getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie, &size));
}

/* Room for the one control message of clinux_receive and clinux_send. */
union packet_info {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

ssize_t clinux_receive(int fd, void *buffer, size_t size, uint8_t *peer, uint16_t *port,
		       uint8_t *local)
{
	struct sockaddr_storage name = {};
	struct iovec vector = { .iov_base = buffer, .iov_len = size };
	union packet_info info;
	struct msghdr message = { .msg_name = &name,
				  .msg_namelen = sizeof(name),
				  .msg_iov = &vector,
				  .msg_iovlen = 1,
				  .msg_control = &info,
				  .msg_controllen = sizeof(info) };
	ssize_t result = OR_ERRNO(recvmsg(fd, &message, 0));
	struct cmsghdr *control;

	if (result < 0)
		return result;
	take_name(&name, peer, port);
	for (control = CMSG_FIRSTHDR(&message); control; control = CMSG_NXTHDR(&message, control)) {
		struct in6_pktinfo *found = (struct in6_pktinfo *)CMSG_DATA(control);

		if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO)
			memcpy(local, &found->ipi6_addr, 16);
	}
	return result;
}

ssize_t clinux_send(int fd, const void *bytes, size_t size, const uint8_t *peer, uint16_t port,
		    const uint8_t *local)
{
	struct sockaddr_storage name;
	int length = make_name(fd, peer, port, 0, &name);
	struct iovec vector = { .iov_base = (void *)bytes, .iov_len = size };
	union packet_info info = {};
	struct msghdr message = {
		.msg_name = &name, .msg_namelen = length, .msg_iov = &vector, .msg_iovlen = 1
	};

	if (length < 0)
		return length;
	if (local) {
		struct in6_pktinfo *source = (struct in6_pktinfo *)CMSG_DATA(&info.header);

		info.header.cmsg_len = CMSG_LEN(sizeof(*source));
		info.header.cmsg_level = IPPROTO_IPV6;
		info.header.cmsg_type = IPV6_PKTINFO;
		memcpy(&source->ipi6_addr, local, 16);
		message.msg_control = &info;
		message.msg_controllen = sizeof(info);
	}
	return OR_ERRNO(sendmsg(fd, &message, MSG_NOSIGNAL));
}
